"""Attempts by what a request carries or names: bodies, models in paths and queries, artifacts, tools. Data for `cases`."""

import base64
import gzip
import json
import zlib

import calls
from bodies import REFUSED
from bypass.wire import CHAT, CHATS, Send, get, http1, post
from rpc_bodies import CALLS_REFUSED

SECRET = b'{"model":"secret"}'


def swapped(body: bytes) -> bytes:
    """The corpus names `a`, and `b` where it is attacked: here `ngram`, and `secret`."""
    return body.replace(b'"a"', b'"ngram"').replace(b'"b"', b'"secret"')


MULTIPART = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nngram\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsecret\r\n--b--\r\n'
)
BODIES = {
    "the model": post(SECRET),
    **{f"corpus: {name}": post(swapped(body)) for name, body in REFUSED.items() if len(body) < 100_000},
    "deep nesting": post(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b',"model":"secret"}'),
    "deep nesting in front of a permitted one": post(b'{"x":' * 2000 + b"1" + b"}" * 2000),
    "gzip": post(gzip.compress(SECRET), "Content-Encoding: gzip"),
    "gzip under a plain body": post(CHAT, "Content-Encoding: gzip"),
    "deflate": post(zlib.compress(SECRET), "Content-Encoding: deflate"),
    "br": post(CHAT, "Content-Encoding: br"),
    "identity": post(CHAT, "Content-Encoding: identity"),
    "gzip that is not said": post(gzip.compress(SECRET)),
    "gzip as transfer coding": post(
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(SECRET)), gzip.compress(SECRET)),
        "Transfer-Encoding: gzip, chunked",
        length=False,
    ),
    "a bomb": post(
        gzip.compress(b'{"model":"secret","x":"' + b"0" * (8 << 20) + b'"}'), "Content-Encoding: gzip"
    ),
    "chunked": post(b"12\r\n" + SECRET + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
    "larger than may be read": post(b'{"x":"' + b"y" * (2 << 20) + b'","model":"secret"}'),
    "larger, the permitted one first": post(b'{"model":"ngram","x":"' + b"y" * (2 << 20) + b'"}'),
    "empty": post(b""),
    "UTF-16": post('{"model":"secret"}'.encode("utf-16"), "Content-Type: application/json; charset=utf-16"),
    "UTF-7": post(b'{"model":"+AHMAZQBjAHIAZQB0-"}', "Content-Type: application/json; charset=utf-7"),
    "a byte-order mark": post(b"\xef\xbb\xbf" + SECRET),
    "NaN": post(b'{"x":NaN,"model":"secret"}'),
    "a number beyond 2^53": post(b'{"x":9007199254740993,"model":"ngram"}'),
    "single quotes": post(b"{'model':'secret'}"),
    "a comment": post(b'{"model":"ngram",/*"*/"model":"secret"/*"*/}'),
    "a name above ascii": post('{"model":"s\u0435cret"}'.encode()),
    "a name with a combining mark": post('{"model":"ngra\u0301m"}'.encode()),
    "a name with white space": post(b'{"model":"secret "}'),
    "a name with a nul": post(b'{"model":"secret\\u0000"}'),
    "a name that climbs": post(b'{"model":"ngram/../secret"}'),
    "the query names another": post(CHAT, target=f"{CHATS}?model=secret"),
    "the query, escaped": post(CHAT, target=f"{CHATS}?mod%65l=secret"),
    "the query, in capitals": post(CHAT, target=f"{CHATS}?MODEL=secret"),
    "the query, as a list": post(CHAT, target=f"{CHATS}?model[]=secret"),
    "the query, behind a semicolon": post(CHAT, target=f"{CHATS}?x=1;model=secret"),
    "a batch": post(b'[{"model":"ngram"},{"model":"secret"}]'),
    "a form": post(b"model=secret", "Content-Type: application/x-www-form-urlencoded"),
    "multipart where JSON is read": post(MULTIPART, "Content-Type: multipart/form-data; boundary=b"),
    "multipart that is not declared": post(
        MULTIPART, "Content-Type: multipart/form-data; boundary=b", target="/v1/audio/transcriptions"
    ),
    "a header names another": post(CHAT, "x-model: secret"),
}

MODELS = {
    name: get(target)
    for name, target in {
        "by path": "/v2/models/secret",
        "climbing": "/v2/models/ngram/../secret",
        "escaped": "/v2/models/secre%74",
        "escaped climb": "/v2/models/ngram%2f..%2fsecret",
        "doubled": "/v2/models//secret",
        "parameter": "/v2/models/secret;x",
        "dot": "/v2/models/secret.",
        "dot segment": "/v2/models/./secret",
        "nul": "/v2/models/secret%00",
        "space": "/v2/models/secret%20",
        "capitals": "/V2/models/secret",
        "slash": "/v2/models/secret/",
        "deeper": "/v2/models/secret/versions/1",
        "ready": "/v2/models/secret/ready",
        "empty": "/v2/models//",
        "twice escaped": "/v2/models/secre%2574",
        "openai": "/v1/models/secret",
        "with a query": "/v2/models/secret?x=ngram",
        "realtime": "/v1/realtime?model=secret",
        "realtime, two": "/v1/realtime?model=ngram&model=secret",
        "realtime, other order": "/v1/realtime?model=secret&model=ngram",
        "realtime, escaped": "/v1/realtime?model=ngram&mode%6c=secret",
        "realtime, capitals": "/v1/realtime?model=ngram&Model=secret",
        "realtime, semicolon": "/v1/realtime?model=ngram;model=secret",
        "artifact": "/artifacts/model/secret@" + "0" * 64,
        "artifact, capitals": "/artifacts/Model/secret@" + "0" * 64,
        "artifact, other digest": "/artifacts/model/secret@" + "A" * 64,
    }.items()
}
TRANSFER = {
    "HEAD": get("/artifacts/model/secret@" + "0" * 64, method="HEAD"),
    "a range": get("/artifacts/model/secret@" + "0" * 64, "Range: bytes=0-9"),
    "many ranges": get("/artifacts/model/secret@" + "0" * 64, "Range: bytes=0-0,1-1", "If-Range: x"),
    "a resume": get("/artifacts/model/secret@" + "0" * 64, "Range: bytes=5-", "If-None-Match: *"),
    "a push": lambda s: http1(
        s, "/artifacts/model/secret@" + "0" * 64, "Content-Range: bytes 0-1/9", method="PUT", body=b"x"
    ),
    "a push by POST": post(b"x", target="/artifacts/model/secret@" + "0" * 64),
}


def call(body: bytes | dict[str, object], *headers: str) -> Send:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(data, "Content-Type: application/json", *headers, target="/mcp")


def tool(name: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}


def asked(body: bytes) -> Send:
    """A call of a permitted tool that says `secret` where a call of the corpus says what it may not."""
    return call(body.replace(b'"search"', b'"add"').replace(b"/etc", b"secret"))


ARGUMENTS = {
    "the argument": asked(calls.call('{"path":"/etc"}')),
    **{f"corpus: {name}": asked(body) for name, body in calls.REFUSED.items()},
    **{f"corpus: {name}": asked(body) for name, (body, _) in calls.READ.items()},
    "what filters are told": call(
        calls.call('{"path":"secret"}').replace(b'"search"', b'"add"'), 'Writ-Arguments: "path=/data/x"'
    ),
}
MCP = {
    "the tool": call(tool("secret")),
    **{f"corpus: {name}": call(body.replace(b'"rm"', b'"secret"')) for name, body in CALLS_REFUSED.items()},
    "a header says another tool": call(tool("secret"), "Mcp-Method: tools/call", "Mcp-Name: add"),
    "a header says this, the body another": call(tool("add"), "Mcp-Method: tools/call", "Mcp-Name: secret"),
    "a header says another method": call(tool("secret"), "Mcp-Method: tools/list"),
    "the body lists, the header calls": call(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, "Mcp-Method: tools/call", "Mcp-Name: secret"
    ),
    "Mcp-Name twice": call(tool("add"), "Mcp-Name: add", "Mcp-Name: secret"),
    "Mcp-Method twice": call(tool("add"), "Mcp-Method: tools/call", "Mcp-Method: tools/list"),
    "Mcp-Name in base64": call(tool("add"), f"Mcp-Name: =?base64?{base64.b64encode(b'secret').decode()}?="),
    "a notification": call({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "secret"}}),
    "a batch with a permitted call": call(json.dumps([tool("add"), tool("secret")]).encode()),
    "a batch of notifications": call(b'[{"jsonrpc":"2.0","method":"notifications/initialized"}]'),
    "another method": call({"jsonrpc": "2.0", "id": 1, "method": "Tools/Call", "params": {"name": "secret"}}),
    "another path": post(json.dumps(tool("secret")).encode(), target="/mcp/"),
    "another path, capitals": post(json.dumps(tool("secret")).encode(), target="/MCP"),
    "someone's session": call(tool("secret"), "Mcp-Session-Id: another"),
    "someone's session for a permitted call": call(tool("add"), "Mcp-Session-Id: another"),
    "two sessions": call(tool("add"), "Mcp-Session-Id: one", "Mcp-Session-Id: another"),
    "an empty session": call(tool("add"), "Mcp-Session-Id:"),
}
