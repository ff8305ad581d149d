"""What policy knows about a request: the table, ambiguous paths, unread bodies, and which claims count."""

import pytest

from policies.compile import KINDS_OF
from policies.model import ACTIONS, Principal
from policies.paths import ambiguous, near
from policies.requests import Claims, Classified, accept_claims, classify
from policies.table import CALLS, FALLBACK, GRPC, TABLE

BODY = b'{"model":"org/llama:7b","stream":true}'


def read(action: str, name: str = "org/llama:7b", *, stream: bool = True) -> Classified:
    return Classified(protocol="openai", action=action, kind="Model", name=name, body="read", stream=stream)


def unread(action: str) -> Classified:
    return Classified(protocol="openai", action=action, kind="Model", name=None, body="unread", stream=False)


CONNECT = Classified(
    protocol="http", action="connect", kind="Service", name="http", body="none", stream=False
)
AMBIGUOUS = Classified(
    protocol="http", action="connect", kind="Service", name=None, body="unread", stream=False
)
LIST = Classified(
    protocol="openai", action="discover", kind="Service", name="openai", body="none", stream=False
)


def model(name: str | None, body: str) -> Classified:
    return Classified(protocol="openai", action="discover", kind="Model", name=name, body=body, stream=False)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/chat/completions", read("chat")),
        ("POST", "/v1/completions", read("completion")),
        ("POST", "/v1/responses", read("respond")),
        ("POST", "/v1/embeddings", read("embed")),
        ("POST", "/v1/chat/completions?user=1", read("chat")),
        ("POST", "/v1/chat/completions?model=org/llama:7b", unread("chat")),
        ("GET", "/v1/models", LIST),
        ("GET", "/v1/models?limit=1", LIST),
        ("GET", "/v1/models/llama", model("llama", "none")),
        ("GET", "/v1/models/llama:7b", model("llama:7b", "none")),
        ("GET", "/v1/models/org/llama", CONNECT),
        ("PUT", "/v1/models/llama", AMBIGUOUS),
        ("HEAD", "/v1/models/llama", model("llama", "none")),
        ("GET", "/v1/chat/completions", AMBIGUOUS),
        ("post", "/v1/chat/completions", AMBIGUOUS),
        ("POST", "/v1/chat/completions/x", CONNECT),
        ("POST", "/v2/models/a/infer/x", CONNECT),
        ("GET", "/", CONNECT),
        ("GET", "/files/my%20report.pdf", CONNECT),
    ],
)
def test_a_request_is_what_its_row_says(method: str, path: str, expected: Classified) -> None:
    assert classify(method, path, BODY) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "v1/chat/completions",
        "http://x/v1/models",
        "/v1//chat/completions",
        "//v1/models",
        "/v1/./models",
        "/v1/x/../models",
        "/..",
        "/v1/.",
        "/v1/%63hat/completions",
        "/v1/chat%2fcompletions",
        "/v1%2Fmodels",
        "/v1/%2e%2e/x",
        "/v1/%5c",
        "/v1\\models",
        "/x%00",
        "/x%c0%ae",
        "/x%C1%9c",
        "/x%e0%80%ae",
        "/x%f0%80%80%ae",
        "/x%ff",
        "/x%0d%0a",
        "/x%25%32%66",
        "/x%zz",
        "/x%2",
        "/x%",
        "/v1/chat/completions;x=1",
        "/x%3bx",
        "/v1/models /x",
        "/v1/\tmodels",
        "/v1/modèls",
        "/x\x00",
        "/x\x7f",
        "/V1/models",
        "/v1/Chat/Completions",
        "/v1/chat/completions/",
        "/v1/responses/",
        "/V1/models/llama",
        "/v1/models/",
        "/v1/models/llama/",
        "/v1/models/a%20b",
        "/v1/models/" + "a" * 129,
        "/mcp/",
        "/tasks/a!b:cancel",
        "/inference.grpcinferenceservice/ModelInfer",
        "/artifacts/model/m@" + "A" * 64,
        "/artifacts/model/m@sha256:0",
        "/v1/chat/completions#x",
    ],
)
def test_a_path_that_servers_read_differently_is_denied(path: str) -> None:
    assert ambiguous(path) or near(path)
    assert classify("POST", path, BODY) == AMBIGUOUS


@pytest.mark.parametrize(
    ("body", "encoding", "content_type"),
    [
        (None, None, None),  # none, or more than the proxy may hold
        (b"", None, None),
        (BODY, "gzip", None),
        (BODY, "", None),
        (BODY, "identity", None),
        (BODY, None, "application/json; charset=utf-7"),
        (BODY, None, "application/json;charset=UTF-16"),
        (BODY, None, "application/json; charset=utf-8; charset=utf-7"),
        (BODY, None, "application/json; charset =utf-7"),
        (BODY, None, "application/json; charset=utf-8, application/json; charset=utf-7"),
        (b'{"stream":true}', None, None),
        (b'{"model":"a b"}', None, None),
        (b'{"model":""}', None, None),
        (b'{"model":"' + b"a" * 129 + b'"}', None, None),
        (b'{"model":"a\\u0000"}', None, None),
        (b'{"model":"a"}{"model":"b"}', None, None),
        (b'{"model":"a","stream":1}', None, None),
    ],
)
def test_a_body_that_cannot_be_read_for_certain_is_unread(
    body: bytes | None, encoding: str | None, content_type: str | None
) -> None:
    found = classify(
        "POST",
        "/v1/chat/completions",
        body,
        {
            name: value
            for name, value in (("content-encoding", encoding), ("content-type", content_type))
            if value is not None
        },
    )
    assert found == unread("chat")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "text/x",
    ],
)
def test_utf_8_is_the_one_charset(content_type: str | None) -> None:
    found = classify(
        "POST", "/v1/embeddings", b'{"model":"a"}', {"content-type": content_type} if content_type else {}
    )
    assert found == read("embed", "a", stream=False)


def test_the_table_uses_the_words_of_the_model() -> None:
    rows = (*TABLE, FALLBACK, GRPC)
    assert {row.action for row in (*rows, *CALLS)} <= ACTIONS
    assert all(row.kind in KINDS_OF[row.action] for row in (*rows, *CALLS))


def test_the_rows_of_the_table_differ() -> None:
    """Also in lower case: else one of two would always be ambiguous."""
    assert len({(row.method, row.path.lower()) for row in TABLE}) == len(TABLE)
    assert len({(call.protocol, call.method) for call in CALLS}) == len(CALLS)


def node(
    *, purposes: tuple[str, ...], regions: tuple[str, ...] = (), floor: int = 0, ceiling: int = 3
) -> Principal:
    return Principal(
        node="gpu-1.paris",
        site="paris",
        jurisdiction="FR",
        tier=2,
        groups=frozenset(),
        purposes=frozenset(purposes),
        regions=frozenset(regions),
        class_floor=floor,
        class_ceiling=ceiling,
    )


ONE = node(purposes=("care",), regions=("fr",))
MANY = node(purposes=("care", "research"), regions=("de", "fr"), floor=1)
NOWHERE = node(purposes=("care",))


@pytest.mark.parametrize(
    ("principal", "claims", "expected"),
    [
        (ONE, (None, None, None), ("care", 3, "fr")),
        (ONE, ("care", "0", "fr"), ("care", 0, "fr")),
        (ONE, ("research", None, None), None),
        (ONE, (None, "4", None), None),
        (ONE, (None, None, "de"), None),
        (MANY, ("research", "2", "de"), ("research", 2, "de")),
        (MANY, ("research", "0", "de"), ("research", 1, "de")),  # the floor counts
        (MANY, (None, "2", "de"), None),
        (MANY, ("care", "2", None), None),
        (NOWHERE, ("care", "1", None), ("care", 1, None)),
        (NOWHERE, ("care", "1", "fr"), None),
        (NOWHERE, ("care", "1", ""), None),
        (node(purposes=()), (None, None, None), None),
        (node(purposes=()), ("care", None, None), None),
        (node(purposes=("care",), floor=4), (None, None, None), None),
        (ONE, ("care,care", None, None), None),  # a header that came twice
        (ONE, ("", None, None), None),
        (ONE, ("Care", None, None), None),
        (ONE, (None, "", None), None),
        (ONE, (None, "03", None), None),
        (ONE, (None, "+1", None), None),
        (ONE, (None, "-1", None), None),
        (ONE, (None, "\u0661", None), None),
        (ONE, (None, "1\n", None), None),
        (ONE, (None, "9", None), None),
        (ONE, (None, "1,2", None), None),
    ],
)
def test_claims_count_only_within_the_certificate(
    principal: Principal,
    claims: tuple[str | None, str | None, str | None],
    expected: tuple[str, int, str | None] | None,
) -> None:
    found = accept_claims(principal, *claims)
    if expected is None:
        assert found is None
    else:
        purpose, data_class, region = expected
        assert found == Claims(purpose=purpose, data_class=data_class, subject_region=region)
