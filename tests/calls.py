"""Bodies of calls of the tool `search`, of which rules ask `path` and `maxSize`: what is read of them, or None: nothing is.

One corpus for both readers, and for what real sidecars let through.
"""

WANTED = {"search": frozenset({"path", "maxSize"})}


def call(arguments: str, *, before: str = "", behind: str = "") -> bytes:
    """A call whose arguments are this text."""
    return (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{before}"name":"search",'
        f'"arguments":{arguments}{behind}}}}}'
    ).encode()


READ: dict[str, tuple[bytes, dict[str, str]]] = {
    "one": (call('{"path":"/data/x"}'), {"path": "/data/x"}),
    "both, spread out": (
        call('{ "maxSize" : "1" ,\n "other": [1,{"path":"/etc"}], "path":"" }'),
        {"path": "", "maxSize": "1"},
    ),
    "none": (call("{}"), {}),
    "null": (call("null"), {}),
    "no arguments": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search"}}',
        {},
    ),
    "signs": (call('{"path":"a=b,c;d <>&%20{}[]"}'), {"path": "a=b,c;d <>&%20{}[]"}),
    "decoys inside others": (
        call('{"x":{"path":"/etc/x"},"y":"\\"path\\":\\"/etc/x\\"","path":"/data/x"}'),
        {"path": "/data/x"},
    ),
    "a decoy beside the arguments": (
        call('{"path":"/data/x"}', before='"path":"/etc/x",'),
        {"path": "/data/x"},
    ),
    "a decoy above": (
        call('{"path":"/data/x"}').replace(b'"id":1', b'"id":1,"arguments":{"path":"/etc/x"}'),
        {"path": "/data/x"},
    ),
    "longest": (call('{"path":"%s"}' % ("x" * 512)), {"path": "x" * 512}),  # braces
    "unasked escapes": (call('{"path":"/data/x","note":"\\u0041\\n"}'), {"path": "/data/x"}),
}
REFUSED: dict[str, bytes] = {
    "twice": call('{"path":"/data/x","path":"/etc/x"}'),
    "twice, alike": call('{"path":"/data/x","path":"/data/x"}'),
    "another case": call('{"PATH":"/etc/x"}'),
    "another case beside": call('{"path":"/data/x","Path":"/etc/x"}'),
    "capitals lost": call('{"maxsize":"1"}'),
    "an escaped name": call('{"\\u0070ath":"/etc/x"}'),
    "an escaped name beside": call('{"path":"/data/x","p\\u0061th":"/etc/x"}'),
    "any escaped name": call('{"path":"/data/x","\\u0078":1}'),
    "a name that folds": call('{"path":"/data/x","\u017fpath":"/etc/x"}'),
    "an escaped value": call('{"path":"\\/etc\\/x"}'),
    "an escape of nothing special": call('{"path":"\\u002fdata/x"}'),
    "a quotation mark": call('{"path":"/data/x\\"maxSize=1"}'),
    "a number": call('{"path":1}'),
    "a number for a string": call('{"maxSize":1}'),
    "true": call('{"path":true}'),
    "null for a string": call('{"path":null}'),
    "an object": call('{"path":{"path":"/data/x"}}'),
    "an array": call('{"path":["/data/x"]}'),
    "too long": call('{"path":"%s"}' % ("x" * 513)),  # braces
    "beyond ASCII": call('{"path":"/data/é"}'),
    "a control character": call('{"path":"/data/\t"}'),
    "a line": call('{"path":"/data/x\nmaxSize"}'),
    "no UTF-8": call('{"path":"/data/Z"}').replace(b"Z", b"\xff"),
    "arguments twice": call('{"path":"/data/x"}', behind=',"arguments":{"path":"/etc/x"}'),
    "arguments first null": call("null", behind=',"arguments":{"path":"/etc/x"}'),
    "arguments of another case": call('{"path":"/data/x"}', behind=',"Arguments":{"path":"/etc/x"}'),
    "arguments spelled otherwise": call('{"path":"/data/x"}', behind=',"argum\\u0065nts":{"path":"/etc/x"}'),
    "parameters twice": call('{"path":"/data/x"}').replace(
        b'"id":1', b'"id":1,"params":{"name":"search","arguments":{"path":"/etc/x"}}'
    ),
    "a list of arguments": call('[{"path":"/data/x"}]'),
    "a text of arguments": call('"path"'),
    "a flag of arguments": call("true"),
    "a batch": b"[" + call('{"path":"/data/x"}') + b"," + call('{"path":"/etc/x"}') + b"]",
    "a second call behind": call('{"path":"/data/x"}') + call('{"path":"/etc/x"}'),
    "cut off": call('{"path":"/data/x"')[:-1],
    "a comma too many": call('{"path":"/data/x",}'),
    "too deep": call('{"path":"/data/x","y":' + "[" * 64 + "]" * 64 + "}"),
}
