r"""From an HTTP request to what policies speak about: one normative table, its rules, and which claims count.

The same table is rendered into Envoy's classifier (`agent/envoy/classify.lua`); the Python twin here is for explaining
and for tests that hold the two against each other.
(1) A path without query is *ambiguous* if it does not begin with `/`, holds a character outside `!` to `~`, `\`, `;`,
    `#`, `//`, a `.` or `..` segment, or a `%` that no two hex digits follow or that encodes an unreserved character,
    `/`, `\`, `;`, `%` or a control character; or if it meets a row, of any method, only in lower case or without its
    trailing `/`. Servers differ about what such a path means: body `unread`, denied whatever is permitted.
(2) Any other path is its row of `TABLE`, byte for byte; what no row matches is `connect` on Service `http` and needs a
    permit of its own.
(3) Where the body names the resource it must be readable (`policies.scan`): no Content-Encoding, no `charset` but
    UTF-8, a name of our grammar. Else `unread`.
"""

import re
from dataclasses import dataclass

from policies.grammar import RESOURCE_NAME as NAME
from policies.model import CLASS_MAX, Principal
from policies.scan import scan

TABLE_VERSION = 1
CLAIM = re.compile(r"[a-z0-9-]{1,48}")


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


_PATHS = frozenset(row.path for row in TABLE)
_STEMS = tuple(row.path.removesuffix("{name}") for row in TABLE if row.path.endswith("{name}"))
_PLAIN = re.compile(r"/[!-~]*")
_CONFUSING = re.compile(r"[\\;#]|//|/\.\.?(?:/|\Z)")
_ESCAPE = re.compile(r"%(.{0,2})")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_NEEDLESS = re.compile(r"[A-Za-z0-9._~/\\;%\x00-\x1f\x7f-]")
_UTF8 = re.compile(r"""[^;,]*;[ \t]*charset="?utf-8"?[ \t]*""", re.IGNORECASE)


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


def ambiguous(path: str) -> bool:
    """Rule (1)."""
    if not _PLAIN.fullmatch(path) or _CONFUSING.search(path):
        return True
    if any(_needless(escape) for escape in _ESCAPE.findall(path)):
        return True
    folded = path.lower()
    exact = folded.rstrip("/") in _PATHS and path not in _PATHS
    return exact or any(folded.startswith(stem) and not path.startswith(stem) for stem in _STEMS)


def _needless(escape: str) -> bool:
    if not _HEX.fullmatch(escape):
        return True
    return _NEEDLESS.fullmatch(chr(int(escape, 16))) is not None


def unreadable(content_type: str | None) -> bool:
    """A server that honours `charset=utf-7` or `utf-16` reads other keys than we do."""
    if content_type is None or "charset" not in content_type.lower():
        return False
    return _UTF8.fullmatch(content_type) is None


def classify(
    method: str, path: str, body: bytes | None, *, encoded: bool = False, content_type: str | None = None
) -> Classified:
    """Classify a request. `encoded`: a Content-Encoding is present, so the body says nothing we can rely on."""
    path = path.partition("?")[0]
    if ambiguous(path):
        return _classified(FALLBACK, None, "unread")
    row = endpoint(method, path)
    if not row.field:
        return _classified(row, row.name or path.rpartition("/")[2], "none")
    found = None if body is None or encoded or unreadable(content_type) else scan(body, (row.field, "stream"))
    name = found.get(row.field) if found else None
    if found is None or not isinstance(name, str) or not NAME.fullmatch(name):
        return _classified(row, None, "unread")
    return _classified(row, name, "read", stream=found.get("stream") is True)


def _classified(row: Endpoint, name: str | None, body: str, *, stream: bool = False) -> Classified:
    return Classified(
        protocol=row.protocol, action=row.action, kind=row.kind, name=name, body=body, stream=stream
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
