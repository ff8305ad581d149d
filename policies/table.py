"""The normative table of requests (`requests.table`) as values. What its columns mean is said on top of that file.

Whoever changes the table is a developer: a mistake in it is a `RuntimeError` at import, and a test.
"""

import importlib.resources
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from policies.model import ACTIONS, RESOURCE_KINDS


class Source(Enum):
    """Where the name of the resource stands."""

    FIXED = "fixed"
    PATH = "path"
    BODY = "body"  # a top-level member of the JSON body; for a call, one of its `params`
    QUERY = "query"
    FIELD = "field"  # of the one protobuf message
    FIRST = "first"  # of the first message of a stream; every later one must say the same
    CALL = "call"  # the row of what the body calls says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row: method and path decide. `name` is the resource's name where it is fixed."""

    method: str
    path: str
    protocol: str
    action: str
    kind: str
    source: Source = Source.FIXED
    name: str = ""
    field: str = ""
    stream: bool = False
    websocket: bool = False
    session: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a JSON-RPC method is. `field`: the member of `params` that names the resource, empty where `name` does."""

    method: str
    protocol: str
    action: str
    kind: str
    name: str = ""
    field: str = ""
    stream: bool = False


FALLBACK = Endpoint(method="", path="", protocol="http", action="connect", kind="Service", name="http")
GRPC = Endpoint(method="POST", path="", protocol="grpc", action="connect", kind="Service")
"""What no row knows: of gRPC the service's full name is the resource's, of all else `http`."""

_FLAGS = frozenset({"stream", "calls", "websocket", "session"})
_COMMENT = re.compile(r"#.*")


def _lines() -> Iterator[list[str]]:
    text = importlib.resources.files("policies").joinpath("requests.table").read_text("ascii")
    for line in text.splitlines():
        words = _COMMENT.sub("", line).split()
        if words:
            yield words


def _endpoint(words: list[str]) -> Endpoint:
    method, path, protocol, action, kind, name, *flags = words
    source, name, field = _named(name)
    if "calls" in flags:
        source = Source.CALL
    _check(words, action, kind, flags)
    return Endpoint(
        method=method,
        path=path,
        protocol=protocol,
        action=action,
        kind=kind,
        source=source,
        name=name,
        field=field,
        stream="stream" in flags,
        websocket="websocket" in flags,
        session="session" in flags,
    )


def _call(words: list[str]) -> Call:
    _, method, protocol, action, kind, name, *flags = words
    _check(words, action, kind, flags)
    where, _, field = name.rpartition("params:")
    fixed = where == "" and not name.startswith("params:")
    return Call(
        method=method,
        protocol=protocol,
        action=action,
        kind=kind,
        name=name if fixed else "",
        field="" if fixed else field,
        stream="stream" in flags,
    )


def _named(text: str) -> tuple[Source, str, str]:
    where, colon, field = text.partition(":")
    if text == "{name}":
        return Source.PATH, "", ""
    return (Source(where), "", field) if colon else (Source.FIXED, text, "")


def _check(words: list[str], action: str, kind: str, flags: list[str]) -> None:
    if action not in ACTIONS or kind not in RESOURCE_KINDS or not _FLAGS.issuperset(flags):
        raise RuntimeError(f"requests.table: `{' '.join(words)}`")


def _read() -> tuple[int, tuple[Endpoint, ...], tuple[Call, ...]]:
    lines = list(_lines())
    version = next(int(words[1]) for words in lines if words[0] == "version")
    rows = tuple(_endpoint(words) for words in lines if words[0] not in {"call", "version"})
    heads = tuple(replace(row, method="HEAD") for row in rows if row.method == "GET" and not row.stream)
    return version, rows + heads, tuple(_call(words) for words in lines if words[0] == "call")


TABLE_VERSION, TABLE, CALLS = _read()
