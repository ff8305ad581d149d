"""From an HTTP request to what policies speak about: one normative table, and the strict scanner of bodies.

The same table is rendered into Envoy's classifier; the Python twin here is for explaining and for tests that hold the
two against each other. Anything not in the table is `connect` on Service `http`: it needs a permit of its own.
"""

import re
from dataclasses import dataclass

from policies.model import CLASS_MAX, Principal

TABLE_VERSION = 1
NAME = re.compile(
    r"[A-Za-z0-9._:/-]{1,128}"
)  # byte-exact resource names: nothing that two parsers could read apart
CLAIM = re.compile(r"[a-z0-9-]{1,48}")
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row: method and path decide, the body or the path names the resource.

    `path` is exact, or ends with `{name}` for one last segment. `name` is the resource's name where it is fixed,
    empty where `field` (a top-level string of the JSON body) or the path gives it.
    """

    method: str
    path: str
    protocol: str
    action: str
    kind: str
    field: str = ""
    name: str = ""


TABLE: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        protocol="openai",
        action="chat",
        kind="Model",
        field="model",
    ),
    Endpoint(
        method="POST",
        path="/v1/completions",
        protocol="openai",
        action="completion",
        kind="Model",
        field="model",
    ),
    Endpoint(
        method="POST", path="/v1/responses", protocol="openai", action="respond", kind="Model", field="model"
    ),
    Endpoint(
        method="POST", path="/v1/embeddings", protocol="openai", action="embed", kind="Model", field="model"
    ),
    Endpoint(
        method="GET", path="/v1/models", protocol="openai", action="discover", kind="Service", name="openai"
    ),
    Endpoint(method="GET", path="/v1/models/{name}", protocol="openai", action="discover", kind="Model"),
)
FALLBACK = Endpoint(method="", path="", protocol="http", action="connect", kind="Service", name="http")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What a request is. `name` None: the body did not say, in a way that only one reading is possible."""

    protocol: str
    action: str
    kind: str
    name: str | None
    body: str  # read, unread, none
    stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Accepted claims: within the certificate, the class already raised to its floor."""

    purpose: str
    data_class: int
    subject_region: str | None


def endpoint(method: str, path: str) -> Endpoint:
    """The row for a method and a normalised path without query."""
    for row in TABLE:
        stem, wild, _ = row.path.partition("{name}")
        exact = not wild and path == row.path
        below = (
            wild
            and path.startswith(stem)
            and NAME.fullmatch(path[len(stem) :])
            and "/" not in path[len(stem) :]
        )
        if row.method == method and (exact or below):
            return row
    return FALLBACK


def classify(method: str, path: str, body: bytes | None, *, encoded: bool = False) -> Classified:
    """Classify a request. `encoded`: a Content-Encoding is present, so the body says nothing we can rely on."""
    row = endpoint(method, path)
    name: str | None = row.name or path.rpartition("/")[2]
    read, stream = "none", False
    if row.field:
        found = None if body is None or encoded else scan(body, (row.field, "stream"))
        name = found.get(row.field) if found else None  # type: ignore[assignment]  # checked next
        read = "read" if isinstance(name, str) and NAME.fullmatch(name) else "unread"
        stream = read == "read" and bool(found) and found.get("stream") is True  # type: ignore[union-attr]
        name = name if read == "read" else None
    return Classified(
        protocol=row.protocol, action=row.action, kind=row.kind, name=name, body=read, stream=stream
    )


def accept_claims(
    principal: Principal, purpose: str | None, data_class: str | None, region: str | None
) -> Claims | None:
    """The claims of a request, if the caller's certificate covers them; None denies with `claim_not_allowed`."""
    if purpose is None:
        purpose = next(iter(principal.purposes)) if len(principal.purposes) == 1 else None
    if purpose is None or purpose not in principal.purposes:
        return None
    if data_class is not None and not re.fullmatch(f"[0-{CLASS_MAX}]", data_class):
        return None
    effective = max(principal.class_ceiling if data_class is None else int(data_class), principal.class_floor)
    if effective > principal.class_ceiling:
        return None
    if region is None and len(principal.regions) == 1:
        region = next(iter(principal.regions))
    if (region is None and principal.regions) or (region is not None and region not in principal.regions):
        return None
    return Claims(purpose=purpose, data_class=effective, subject_region=region)


# --- the scanner --------------------------------------------------------------------------------------------------

_SPACE = b" \t\n\r"
_NUMBER = re.compile(rb"[-+0-9.eE]+")  # where a number ends is all that matters: its value is never used
_PLAIN = re.compile(rb'"([^"\\\x00-\x1f]*)"')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FOLDS = {"\u017f".encode(): b"s", "\u212a".encode(): b"k"}  # two letters that Go's decoder folds into ASCII


def scan(body: bytes, wanted: tuple[str, ...]) -> dict[str, str | bool] | None:
    """The wanted top-level members of a JSON object; None when any parser could read it otherwise.

    Refused: not exactly one object, invalid structure, more than 64 levels, bytes before or after, and a top-level key
    that is escaped, equals a wanted one twice, or equals one only when case is folded. Wanted values are plain strings
    without escapes, or true and false; a wanted member of another type is refused.
    """
    try:
        found, at = _object(body, _skip(body, 0), wanted, 1)
    except (IndexError, ValueError):
        return None
    return found if _skip(body, at) == len(body) else None


def _object(body: bytes, at: int, wanted: tuple[str, ...], depth: int) -> tuple[dict[str, str | bool], int]:
    """One object from its brace; only at depth 1 are keys looked at."""
    if body[at] != 0x7B or depth > MAX_DEPTH:
        raise ValueError("an object was expected")
    found: dict[str, str | bool] = {}
    seen: set[str] = set()
    at = _skip(body, at + 1)
    if body[at] == 0x7D:
        return found, at + 1
    while True:
        key, at = _key(body, at) if depth == 1 else (b"", _match(_STRING, body, at))
        at = _skip(body, at)
        if body[at] != 0x3A:
            raise ValueError("a colon was expected")
        at = _skip(body, at + 1)
        name = _wanted(key, wanted, seen) if depth == 1 else None
        if name is not None:
            value, at = _scalar(body, at)
            if value is not None:
                found[name] = value
        else:
            at = _value(body, at, depth)
        at = _skip(body, at)
        if body[at] == 0x7D:
            return found, at + 1
        if body[at] != 0x2C:
            raise ValueError("a comma was expected")
        at = _skip(body, at + 1)


def _key(body: bytes, at: int) -> tuple[bytes, int]:
    plain = _PLAIN.match(body, at)
    if plain is None:  # an escaped key could spell a wanted one
        raise ValueError("a plain key was expected")
    return plain[1], plain.end()


def _wanted(key: bytes, wanted: tuple[str, ...], seen: set[str]) -> str | None:
    folded = key
    for letter, ascii_ in _FOLDS.items():
        folded = folded.replace(letter, ascii_)
    folded = folded.lower()
    for name in wanted:
        if folded == name.encode():
            if key != folded or name in seen:
                raise ValueError("a wanted key occurs twice, or in another case")
            seen.add(name)
            return name
    return None


def _scalar(body: bytes, at: int) -> tuple[str | bool | None, int]:
    for text, value in ((b"true", True), (b"false", False), (b"null", None)):
        if body.startswith(text, at):
            return value, at + len(text)
    plain = _PLAIN.match(body, at)
    if plain is None:
        raise ValueError("a plain string, true or false was expected")
    return plain[1].decode("utf-8", "replace"), plain.end()


def _value(body: bytes, at: int, depth: int) -> int:
    first = body[at]
    if first == 0x22:
        return _match(_STRING, body, at)
    if first == 0x7B:
        return _object(body, at, (), depth + 1)[1]
    if first == 0x5B:
        return _array(body, at, depth + 1)
    for word in (b"true", b"false", b"null"):
        if body.startswith(word, at):
            return at + len(word)
    return _match(_NUMBER, body, at)


def _array(body: bytes, at: int, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    at = _skip(body, at + 1)
    if body[at] == 0x5D:
        return at + 1
    while True:
        at = _skip(body, _value(body, at, depth))
        if body[at] == 0x5D:
            return at + 1
        if body[at] != 0x2C:
            raise ValueError("a comma was expected")
        at = _skip(body, at + 1)


def _match(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    if found is None:
        raise ValueError("a value was expected")
    return found.end()


def _skip(body: bytes, at: int) -> int:
    while at < len(body) and body[at] in _SPACE:
        at += 1
    return at
