"""Attempts to reach `/admin`, the model `secret` the tool or the argument `secret` through a sidecar that permits all else. Data.

`ref` names the class of attack. Each attempt must be denied, or what the backend received must mean nothing protected to
the most careless server (`readings.protected`).
"""

from dataclasses import dataclass

from bypass.payloads import ARGUMENTS, BODIES, MCP, MODELS, SECRET, TRANSFER
from bypass.wire import CHATS, Send, Stream, frames, get, raw, stream


@dataclass(frozen=True)
class Case:
    """One attempt."""

    ref: str
    name: str
    send: Send


PATHS = {
    "1 dots and slashes": (
        "/admin",
        "/open/../admin",
        "/open/./../admin",
        "/./admin",
        "//admin",
        "/open//../admin",
        "/open\\..\\admin",
        "\\admin",
        "/\\admin",
        "/%2e%2e/admin",
        "/open/%2e%2e/admin",
        "/open/%2E%2e/admin",
        "/open/.%2e/admin",
        "/open/%252e%252e/admin",
        "/%252e/admin",
        "/open%2f..%2fadmin",
        "/%2fadmin",
        "/%2Fadmin",
        "/%5cadmin",
        "/open%5c..%5cadmin",
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/admin%00",
        "/%00/admin",
        "/open%00/../admin",
        "/open/%c0%2e%c0%2e/admin",
        "/open/%c0%ae%c0%ae/admin",
        "/open/%e0%80%ae%e0%80%ae/admin",
        "/open/..%c0%afadmin",
        "/open/.../admin",
        "/open/..../admin",
        "/admin/.",
        "/admin/..",
        "/admin/../admin",
        "/..admin",
        "/.admin",
        "/open/..",
        "/open/%u002e%u002e/admin",
        "/%u0061dmin",
        "/ADMIN",
        "/Admin",
        "/adm\u0131n",
        "/%ef%bd%81dmin",
    ),
    "2 parameters": (
        "/admin;x=y",
        "/admin;",
        "/;/admin",
        "/..;x=y/admin",
        "/open/..;/admin",
        "/a;b/..;c/admin",
        "/open;/../admin",
        "/admin;x?y",
        "/open%3b/../admin",
        "/admin%3bx",
        "/open;jsessionid=1",
    ),
    "3 ends and forms": (
        "/admin#frag",
        "/open#/admin",
        "/open?/admin",
        "/admin?",
        "/admin?x",
        "/admin/",
        "/admin//",
        "/admin.",
        "/admin/x",
        "*",
        "/*",
        "/open/*",
        "admin",
        "admin/",
        "http://x/admin",
        "https://x/admin",
        "HTTP://x/admin",
        "//x/admin",
        "http://x@y/admin",
        "http://x//admin",
        "http://x/open/../admin",
        "http:/admin",
        "file:///admin",
        "x:/admin",
        "http://x/open?http://x/admin",
        "http://x",
        "/open http://x/admin",
        "/open\tadmin",
        "/admin%20",
        "/%20admin",
        "/admin%09",
        "/admin%0d%0ax:y",
        "/admin%3f",
        "/admin%23",
        "/open%3f/../admin",
    ),
}

METHODS = {
    "lower case": get("/admin", method="get"),
    "an unknown method": get("/admin", method="FOO"),
    "another spelling": get("/admin", method="GET\x0b"),
    "OPTIONS": get("/admin", method="OPTIONS"),
    "OPTIONS for all": get("*", method="OPTIONS"),
    "HEAD": get("/admin", method="HEAD"),
    "HEAD of a model": get("/v2/models/secret", method="HEAD"),
    "TRACE": get("/admin", method="TRACE"),
    "PRI": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "CONNECT": raw(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"),
    "CONNECT without a port": raw(b"CONNECT /admin HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": raw(b"GET /admin\r\n\r\n"),
    "HTTP/1.0 without Host": raw(b"GET /admin HTTP/1.0\r\n\r\n"),
    "HTTP/2.0 in words": raw(b"GET /admin HTTP/2.0\r\nHost: x\r\n\r\n"),
    "X-HTTP-Method-Override": get("/v2/models/ngram", "X-HTTP-Method-Override: POST"),
    "X-HTTP-Method": get("/v2/models/ngram", "X-HTTP-Method: DELETE"),
    "X-Original-URL": get("/open", "X-Original-URL: /admin"),
    "X-Rewrite-URL": get("/open", "X-Rewrite-URL: /admin"),
    "extended CONNECT": frames(
        Stream(
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"websocket"),
                (b":scheme", b"https"),
                (b":authority", b"x"),
                (b":path", b"/admin"),
            ]
        )
    ),
    "extended CONNECT, another protocol": frames(
        Stream(
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"connect-udp"),
                (b":scheme", b"https"),
                (b":authority", b"x"),
                (b":path", b"/admin"),
            ]
        )
    ),
    "CONNECT in HTTP/2": frames(Stream([(b":method", b"CONNECT"), (b":authority", b"x:80")])),
}

HEADERS = {
    "a purpose twice": get("/admin", "writ-purpose: research"),
    "a list": get("/admin", "writ-purpose: treatment,research"),
    "obs-text": get("/open", b"x-note: \xff\xfe"),
    "obs-text in a claim": get("/admin", b"writ-purpose: treatment\xff"),
    "obs-fold": get("/admin", "x-note: a\r\n b"),
    "obs-fold of a claim": get("/admin", "x-a: b\r\n writ-purpose: research"),
    "white space in a name": get("/admin", "writ-purpose : treatment"),
    "white space before a name": get("/admin", " writ-purpose: treatment"),
    "underscore for hyphen": get("/admin", "writ_action: chat"),
    "an empty value": get("/admin", "writ-resource:"),
    "a name with a colon": get("/admin", ":path: /open"),
    "a header without a name": get("/admin", ": x"),
    "a bare CR": get("/admin", b"x-a: b\rwrit-verdict: ok"),
    "a bare LF": get("/admin", b"x-a: b\nwrit-verdict: ok"),
    "a NUL": get("/admin", b"x-a: b\0c"),
    "100 KB": get("/admin", "x-big: " + "a" * 100_000),
    "10,000 cookies": get("/admin", *[f"cookie: c{i}=1" for i in range(10_000)]),
    "101 headers": get("/admin", *[f"x-{i}: 1" for i in range(101)]),
    "Connection names a claim": get("/admin", "Connection: writ-purpose, writ-verdict"),
    **{
        f"ours: {name}": get("/admin", f"{name}: {value}")
        for name, value in (
            ("writ-verdict", "ok"),
            ("writ-action", "discover"),
            ("writ-resource", "Model/ngram"),
            ("writ-path", "/open"),
            ("writ-protocol", "openai"),
            ("writ-body", "none"),
            ("writ-stream", "false"),
            ("writ-peer", "spiffe://x/y"),
            ("writ-record-id", "1"),
            ("writ-rpc-id", "1"),
            ("writ-request-id", "1"),
            ("x-forwarded-client-cert", "URI=x"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "y"),
            ("x-forwarded-proto", "http"),
            ("x-envoy-original-path", "/open"),
            ("x-envoy-internal", "true"),
            ("x-envoy-force-trace", "true"),
            ("x-envoy-decorator-operation", "x"),
            ("x-envoy-upstream-alt-stat-name", "x"),
            ("x-ai-eg-model", "ngram"),
            ("x-gateway-model-name", "ngram"),
            ("baggage", "writ-verdict=ok"),
            ("traceparent", "00-0-0-01"),
        )
    },
}

H = b"Host: x\r\nwrit-purpose: treatment\r\nwrit-data-class: 1\r\nwrit-subject-region: fr\r\n"
ADMIN = b"GET /admin HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
POST = b"POST /open HTTP/1.1\r\n" + H
FRAMING = {
    "CL and TE": raw(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE and CL": raw(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + ADMIN),
    "two lengths": raw(POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + ADMIN),
    "a list of lengths": raw(POST + b"Content-Length: 0, 5\r\n\r\n" + ADMIN),
    "a signed length": raw(POST + b"Content-Length: +0\r\n\r\n" + ADMIN),
    "a length in hex": raw(POST + b"Content-Length: 0x0\r\n\r\n" + ADMIN),
    "TE, unknown": raw(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE, two": raw(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE, twice": raw(POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE with a tab": raw(POST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE with a vertical tab": raw(POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + ADMIN),
    "TE with a space before the colon": raw(POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + ADMIN),
    "chunk extension": raw(POST + b"Transfer-Encoding: chunked\r\n\r\n0;a=b\r\n\r\n" + ADMIN),
    "chunk extension with a line": raw(
        POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\n\r\nxx\r\n0\r\n\r\n" + ADMIN
    ),
    "a chunk size that overflows": raw(
        POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + ADMIN
    ),
    "a chunk without CR": raw(POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\n" + ADMIN),
    "trailers with claims": raw(
        POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nwrit-purpose: research\r\n\r\n"
    ),
    "a body on GET": raw(
        b"GET /open HTTP/1.1\r\n"
        + H
        + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ADMIN)
        + ADMIN
    ),
    "a pipelined request": raw(b"GET /open HTTP/1.1\r\n" + H + b"\r\n" + ADMIN),
    "Expect": raw(POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n" + ADMIN),
    "h2c upgrade": get(
        "/admin", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ),
    "h2c upgrade of what is open": raw(
        b"GET /open HTTP/1.1\r\n"
        + H
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        + ADMIN
    ),
    "WebSocket": get("/admin", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "WebSocket of what is open": raw(
        b"GET /open HTTP/1.1\r\n" + H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + ADMIN
    ),
    "WebSocket of another model": get(
        "/v1/realtime?model=secret", "Connection: Upgrade", "Upgrade: websocket"
    ),
    "h2: a path with CRLF": frames(stream(b"/open\r\nx: y", method=b"GET", body=b"")),
    "h2: a path with a space": frames(stream(b"/open /admin", method=b"GET", body=b"")),
    "h2: a path without a slash": frames(stream(b"admin", method=b"GET", body=b"")),
    "h2: no path": frames(Stream([(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x")])),
    "h2: an empty path": frames(stream(b"", method=b"GET", body=b"")),
    "h2: an absolute path": frames(stream(b"http://x/admin", method=b"GET", body=b"")),
    "h2: two paths": frames(stream(b"/open", (b":path", b"/admin"), method=b"GET", body=b"")),
    "h2: two methods": frames(stream(b"/admin", (b":method", b"POST"), method=b"GET", body=b"")),
    "h2: upper case name": frames(stream(b"/admin", (b"Writ-Verdict", b"ok"), method=b"GET", body=b"")),
    "h2: CRLF in a value": frames(
        stream(b"/open", (b"x-a", b"b\r\nx-original-url: /admin"), method=b"GET", body=b"")
    ),
    "h2: CRLF in a name": frames(stream(b"/open", (b"x-a: b\r\nx", b"/admin"), method=b"GET", body=b"")),
    "h2: Transfer-Encoding": frames(
        stream(b"/open", (b"transfer-encoding", b"chunked"), body=b"0\r\n\r\n" + ADMIN)
    ),
    "h2: Connection": frames(stream(b"/admin", (b"connection", b"close"), method=b"GET", body=b"")),
    "h2: a length too short": frames(stream(b"/open", (b"content-length", b"1"), body=ADMIN)),
    "h2: a length too long": frames(stream(b"/open", (b"content-length", b"999"), body=b"x")),
    "h2: a length of zero": frames(stream(CHATS.encode(), (b"content-length", b"0"), body=SECRET)),
    "h2: two lengths": frames(
        stream(b"/open", (b"content-length", b"1"), (b"content-length", b"2"), body=b"x")
    ),
    "h2: trailers with claims": frames(
        stream(CHATS.encode(), trailers=[(b"writ-resource", b"Model/secret")])
    ),
    "h2: trailers with pseudo headers": frames(stream(b"/open", trailers=[(b":path", b"/admin")])),
    "h2: the second stream of a connection": frames(
        stream(b"/open", method=b"GET", body=b""), stream(b"/admin", method=b"GET", body=b"")
    ),
    "h2: the body after a permitted one": frames(stream(CHATS.encode()), stream(CHATS.encode(), body=SECRET)),
    "h2: a body in pieces": frames(stream(CHATS.encode(), body=SECRET, pieces=18)),
}

CASES = [
    *(
        Case(f"path {ref}", target, get(target.encode("utf-8")))
        for ref, targets in PATHS.items()
        for target in targets
    ),
    *(Case("method 4", name, send_it) for name, send_it in METHODS.items()),
    *(Case("header 6, 7", name, send_it) for name, send_it in HEADERS.items()),
    *(Case("framing 8", name, send_it) for name, send_it in FRAMING.items()),
    *(Case("body 22", name, send_it) for name, send_it in BODIES.items()),
    *(Case("model in path or query", name, send_it) for name, send_it in MODELS.items()),
    *(Case("transfer 24", name, send_it) for name, send_it in TRANSFER.items()),
    *(Case("MCP", name, send_it) for name, send_it in MCP.items()),
    *(Case("MCP arguments", name, send_it) for name, send_it in ARGUMENTS.items()),
]
