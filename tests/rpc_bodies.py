"""Bodies of JSON-RPC calls and of gRPC, that have one reading or several: one corpus for every reader of ours."""

from policies.scan import MAX_DEPTH

WANTED = ("method", "id", "params.name", "params.uri")
_TOOL = {"method": "tools/call", "params.name": "add"}

CALLS_READ: dict[str, tuple[bytes, dict[str, str | bool]]] = {
    "a tool": (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}', _TOOL),
    "arguments are not looked at": (
        b'{"method":"tools/call","params":{"arguments":{"name":"x","\\u006eame":2,"Name":3},"name":"add"}}',
        _TOOL,
    ),
    "names beside params": (b'{"name":"x","uri":"y","method":"tools/call","params":{"name":"add"}}', _TOOL),
    "params before method": (b'{"params":{"name":"add"},"method":"tools/call"}', _TOOL),
    "spaces": (b'{ "method" : "tools/call" , "params" : { "name" : "add" } }', _TOOL),
    "id a string": (b'{"id":"a-1","method":"ping"}', {"method": "ping"}),
    "id an object": (b'{"id":{"a":[1]},"method":"ping"}', {"method": "ping"}),
    "id null": (b'{"id":null,"method":"ping"}', {"method": "ping"}),
    "id with an escape": (b'{"id":"\\u0041","method":"ping"}', {"method": "ping"}),
    "method true": (b'{"method":true}', {"method": True}),
    "no params": (b'{"method":"ping"}', {"method": "ping"}),
    "params null": (b'{"params":null,"method":"ping"}', {"method": "ping"}),
    "params empty": (b'{"params":{},"method":"ping"}', {"method": "ping"}),
    "a name that is null": (b'{"method":"tools/call","params":{"name":null}}', {"method": "tools/call"}),
    "an answer": (b'{"id":1,"result":{}}', {}),
    "deep arguments": (
        b'{"method":"ping","params":{"a":' + b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2) + b"}}",
        {"method": "ping"},
    ),
}

CALLS_REFUSED: dict[str, bytes] = {
    "a batch": b'[{"method":"tools/call","params":{"name":"add"}}]',
    "an empty batch": b"[]",
    "method twice": b'{"method":"ping","method":"tools/call","params":{"name":"add"}}',
    "method in capitals": b'{"Method":"tools/call","method":"ping"}',
    "params twice": b'{"method":"tools/call","params":{"name":"add"},"params":{"name":"rm"}}',
    "params twice, null": b'{"method":"tools/call","params":{"name":"add"},"params":null}',
    "params in capitals": b'{"method":"tools/call","params":{"name":"add"},"PARAMS":{"name":"rm"}}',
    "params escaped": b'{"method":"tools/call","params":{"name":"add"},"par\\u0061ms":{"name":"rm"}}',
    "params an array": b'{"method":"tools/call","params":["add"]}',
    "params a string": b'{"method":"tools/call","params":"add"}',
    "params true": b'{"method":"tools/call","params":true}',
    "params a number": b'{"method":"tools/call","params":1}',
    "name twice": b'{"method":"tools/call","params":{"name":"add","name":"rm"}}',
    "name in capitals": b'{"method":"tools/call","params":{"name":"add","NAME":"rm"}}',
    "name escaped": b'{"method":"tools/call","params":{"name":"add","n\\u0061me":"rm"}}',
    "name folded": '{"method":"tools/call","params":{"name":"add","\u212a":"rm"}}'.encode(),
    "value escaped": b'{"method":"tools/call","params":{"name":"\\u0061dd"}}',
    "name a number": b'{"method":"tools/call","params":{"name":1}}',
    "name an object": b'{"method":"tools/call","params":{"name":{"name":"add"}}}',
    "id twice": b'{"id":1,"id":2,"method":"ping"}',
    "method escaped": b'{"method":"tools\\/call","params":{"name":"add"}}',
    "method a number": b'{"method":1}',
    "params not closed": b'{"method":"tools/call","params":{"name":"add"',
    "params closed by a bracket": b'{"method":"tools/call","params":{"name":"add"]}',
    "a comma too many in params": b'{"method":"tools/call","params":{"name":"add",}}',
    "a second call behind": b'{"method":"ping"}{"method":"tools/call"}',
    "too deep": b'{"method":"ping","params":{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}}",
}


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


NAMED = b"\x0a\x05ngram"  # field 1 is `ngram`

MESSAGES_READ: dict[str, bytes] = {
    "plain": framed(NAMED),
    "other fields before": framed(b"\x12\x011\x1a\x02id" + NAMED),
    "other fields behind": framed(NAMED + b"\x2a\x03abc\x3a\x00"),
    "all wire types": framed(
        b"\x48\x96\x01\x51" + b"x" * 8 + b"\x5d" + b"y" * 4 + NAMED + b"\x60" + b"\xff" * 9 + b"\x01"
    ),
    "a decoy inside": framed(b"\x2a\x07\x0a\x05other" + NAMED),
    "the highest field number": framed(NAMED + b"\xfa\xff\xff\xff\x0f\x00"),
    "a long field": framed(NAMED + b"\x3a\x80\x80\x40" + b"z" * (1 << 20)),
}

MESSAGES_REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "half a prefix": b"\0\0\0",
    "an empty message": framed(b""),
    "no name": framed(b"\x12\x011"),
    "the name twice": framed(NAMED + b"\x0a\x05other"),
    "the same name twice": framed(NAMED + NAMED),
    "compressed": framed(NAMED, 1),
    "an unknown flag": framed(NAMED, 2),
    "two messages": framed(NAMED) + framed(NAMED),
    "a byte behind": framed(NAMED) + b"\0",
    "shorter than it says": framed(NAMED)[:-1],
    "a name that is a number": framed(b"\x08\x05"),
    "a name that is fixed": framed(b"\x0d\x05\0\0\0" + NAMED),
    "a name that is a group": framed(b"\x0b" + NAMED + b"\x0c"),
    "a group": framed(b"\x13\x14" + NAMED),
    "field zero": framed(b"\x02\x00" + NAMED),
    "a tag too long": framed(b"\x8a\x80\x00\x05ngram"),
    "a tag longer than it needs": framed(b"\x8a\x00\x05ngram"),
    "a length longer than it needs": framed(b"\x0a\x85\x00ngram"),
    "a length beyond the end": framed(b"\x0a\x06ngram"),
    "a length of 4 GiB": framed(b"\x0a\xff\xff\xff\xff\x0fngram"),
    "a varint without end": framed(NAMED + b"\x10" + b"\xff" * 10 + b"\x01"),
    "a varint cut off": framed(NAMED + b"\x10\xff"),
    "a field number too high": framed(NAMED + b"\xfa\xff\xff\xff\x1f\x00"),
    "an empty name": framed(b"\x0a\x00"),
    "a name with a nul": framed(b"\x0a\x06ngram\0"),
    "a name that is no text": framed(b"\x0a\x01\xff"),
    "a name above ascii": framed(b"\x0a\x02\xc3\xa4"),
}
