"""The classifier as Envoy runs it: `bodies.lua` and `classify.lua` with the normative table (`policies/requests.table`)."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources

from agent.envoy import extraction
from policies import paths
from policies.arguments import MAX_VALUE
from policies.requests import call_members
from policies.scan import ECHO, FLAG, MAX_DEPTH
from policies.table import CALLS, FALLBACK, GRPC, TABLE, Call, Endpoint, Source

HOLES = {
    "{name}": "([A-Za-z0-9._:%-]+)",
    "{digest}": "[0-9a-f]" * 64,
    "{}": "[A-Za-z0-9._~%-]+",
}
"""The free parts of a path as Lua patterns; their length is looked at beside them."""
KEY = "writ-key"
BETWEEN, NONE = "\x01", "\x02"
"""Between the parts of a key, and for a part that is not there: bytes that Envoy's codecs let no header have."""
_LUA_MAGIC = re.compile(r"([^A-Za-z0-9])")
_BODY = {Source.FIXED: "none", Source.PATH: "none", Source.QUERY: "opaque"}


def key() -> str:
    """How Envoy puts together all that is asked of a request before its body: one value to read instead of eight."""
    headers = ("writ-purpose", "writ-data-class", "writ-subject-region", "content-type", "content-encoding")
    parts = ["%REQ(:METHOD)%", "%REQ(:PATH)%", *(f"%REQ({name}?{KEY})%" for name in headers)]
    return BETWEEN.join([*parts, "%DOWNSTREAM_PEER_SUBJECT%"])


@lru_cache(maxsize=2)
def source(*, egress: bool) -> str:
    """The script for one direction."""
    folder = resources.files("agent.envoy")
    text = "".join(
        folder.joinpath(name).read_text("utf-8") for name in ("bodies.lua", "arguments.lua", "classify.lua")
    )
    protocols = sorted({call.protocol for call in CALLS})
    whole = [row for row in TABLE if "{" not in row.path]
    values = {
        "@EGRESS@": "true" if egress else "false",
        "@EXACT@": _map({f"{row.method} {row.path}": _row(row) for row in whole}),
        "@SHAPES@": _shapes(),
        "@FOLDED@": _folded(),
        "@PATHS@": _map({row.path.lower(): "true" for row in whole}),
        "@CALLS@": _map({protocol: _map(_calls(protocol)) for protocol in protocols}),
        "@CALLED@": _map(
            {protocol: _map({name.lower(): "true" for name in _calls(protocol)}) for protocol in protocols}
        ),
        "@MEMBERS@": _map({protocol: _wanted(call_members(protocol)) for protocol in protocols}),
        "@FALLBACK@": _row(FALLBACK),
        "@GRPC@": _row(GRPC),
        "@KEY@": KEY,
        "@BETWEEN@": f"\\{ord(BETWEEN)}",
        "@NONE@": f"\\{ord(NONE)}",
        "@MAX_DEPTH@": str(MAX_DEPTH),
        "@MAX_VALUE@": str(MAX_VALUE),
        "@EXTRACTION@": extraction.NAME,
        "@FIELD@": extraction.FIELD,
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _shapes() -> str:
    by_path: dict[str, dict[str, str]] = {}
    for row in TABLE:
        if "{" in row.path:
            by_path.setdefault(row.path, {})[row.method] = _row(row)
    grouped: dict[str, list[str]] = {}
    for path, rows in by_path.items():
        shape = f"{{{_text(_pattern(path, HOLES))}, {_map(rows)}}}"
        grouped.setdefault(_group(path), []).append(shape)
    return _map({group: _list(shapes) for group, shapes in grouped.items()})


def _folded() -> str:
    grouped: dict[str, list[str]] = {}
    for path in dict.fromkeys(row.path.lower() for row in TABLE if "{" in row.path):
        pattern = _pattern(path, dict.fromkeys(HOLES, "[^/]+"))
        grouped.setdefault(_group(path), []).append(_text(pattern))
    return _map({group: _list(patterns) for group, patterns in grouped.items()})


def _group(path: str) -> str:
    """Where a path is looked up: how deep it is, and how it begins."""
    return f"{path.count('/')}/{path.split('/')[1]}"


def _pattern(path: str, holes: Mapping[str, str]) -> str:
    return (
        "^" + "".join(holes.get(piece) or _LUA_MAGIC.sub(r"%\1", piece) for piece in paths.pieces(path)) + "$"
    )


def _row(row: Endpoint | Call) -> str:
    fields = {"protocol": row.protocol, "action": row.action, "kind": row.kind}
    text = {name: _text(value) for name, value in fields.items()}
    if row.name:
        text["name"] = _text(row.name)
    if row.field:
        text["field"] = row.field if _is_number(row) else _text(row.field)
    text["stream"] = "true" if row.stream else "false"
    if isinstance(row, Endpoint):
        text["source"], text["body"] = _text(row.source.value), _text(_BODY.get(row.source, "read"))
        if row.source is Source.BODY:
            text["wanted"] = _wanted((row.field, FLAG))
    return "{" + ", ".join(f"{name} = {value}" for name, value in text.items()) + "}"


def _is_number(row: Endpoint | Call) -> bool:
    return isinstance(row, Endpoint) and row.source in {Source.FIELD, Source.FIRST}


def _calls(protocol: str) -> dict[str, str]:
    return {call.method: _row(call) for call in CALLS if call.protocol == protocol}


def _wanted(members: Iterable[str]) -> str:
    """Names as the script's scanner wants them: `params.name` is `name` in the table of `params`."""
    top: dict[str, str] = {}
    nested: dict[str, dict[str, str]] = {}
    for member in members:
        parent, dot, name = member.partition(".")
        if dot:
            nested.setdefault(parent, {})[name] = "true"
        else:
            top[member] = "ECHO" if member == ECHO else "true"
    return _map({**top, **{parent: _map(names) for parent, names in nested.items()}})


def _map(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"[{_text(key)}] = {value}" for key, value in entries.items()) + "}"


def _list(items: Iterable[str]) -> str:
    return "{" + ", ".join(items) + "}"


def _text(value: str) -> str:
    if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
        raise RuntimeError("the table holds plain text only")
    return f'"{value}"'
