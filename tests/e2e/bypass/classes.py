"""The known ways around a gateway's policy, and which attempts try each. Data.

First those of proxies in general, then those of AI protocols. What stands behind each are the `ref`s of attempts, or names
of controls in the attack table (`attacks.table`), which run against the same sidecar.
"""

PROXIES: dict[str, tuple[str, ...]] = {
    "1 dot segments, slashes, escapes": ("path 1 dots and slashes", "all percent-encodings"),
    "2 path parameters": ("path 2 parameters",),
    "3 ends and forms of a target": ("path 3 ends and forms",),
    "4 methods": ("method 4",),
    "5 host, authority, SNI": ("host 5",),
    "6 headers: twice, folded, huge": ("header 6, 7",),
    "7 headers that only sidecars write": ("header 6, 7", "headers of ours 7"),
    "8 framing, upgrades, trailers": ("framing 8",),
    "9 plaintext, no certificate, old TLS, resumption": (
        "TLS: no plaintext",
        "TLS: a client certificate",
        "TLS: 1.3 only",
        "TLS: no resumption",
    ),
    "22 bodies that parsers read differently": ("body 22", "gRPC messages", "gRPC streams"),
    "24 transfers: ranges, resumption, redirects, HEAD": ("transfer 24", "redirects 24"),
    "26 wildcards and unknown words in policies": ("wildcards 26",),
    "27 a forbid in the shadow of permits": ("shadowing 27",),
    "28 a dry run that enforces, or tells something else": ("dry run 28",),
    "29 handshakes and heads that never end": ("slow heads 29",),
}
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "1 a path without its slash": ("path 3 ends and forms", "framing 8", "gRPC methods"),
    "2 MCP headers that differ from the body, or come twice": ("MCP",),
    "3 a JSON key twice": ("body 22", "MCP arguments"),
    "4 a protobuf field twice, unknown wire types, another order": ("gRPC messages",),
    "5 escapes and dots in a model's path": ("model in path or query",),
    "6 Host with a path, or another authority": ("host 5",),
    "7 a model in the query and in the body": ("body 22", "model in path or query"),
    "8 headers of gateways and sidecars": ("header 6, 7", "headers of ours 7"),
    "9 JSON-RPC batches and notifications": ("MCP", "MCP arguments"),
    "10 a later message of a stream names another model": ("gRPC streams",),
    "11 compressed bodies and messages, bombs": ("body 22", "gRPC messages"),
    "12 a body larger than may be read": ("body 22",),
    "13 lengths, folding, h2c, WebSockets": ("framing 8", "header 6, 7"),
    "14 two models in a multipart body": ("body 22",),
    "15 names that look alike": ("body 22",),
    "16 slow bodies, silent answers": ("slow and silent 16",),
    "17 sessions, tasks and answers of somebody else": ("state of others 17", "MCP"),
    "18 charsets, byte-order marks, JSON that is none": ("body 22",),
}
