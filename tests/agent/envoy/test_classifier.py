"""The classifier in a running Envoy says of every request what its Python twin says."""

import http.client
import json
from collections.abc import Iterator
from functools import reduce

import pytest
from bodies import READ, REFUSED
from classifying import NODE, ask, read, running
from rpc_bodies import CALLS_READ, CALLS_REFUSED, MESSAGES_READ, MESSAGES_REFUSED

from policies.requests import Classified, accept_claims, classify
from policies.table import CALLS, TABLE, Call, Source


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("envoy")) as port:
        yield port


def said(told: dict[str, str]) -> Classified:
    kind, _, name = told["resource"].partition("/")
    return Classified(
        protocol=told["protocol"],
        action=told["action"],
        kind=kind,
        name=name or None,
        body=told["body"],
        stream=told["stream"] == "true",
    )


def agree(told: dict[str, str], expected: Classified) -> None:
    found = said(told)
    if expected.name is None:  # then the header is absent, and with it the kind
        assert told["resource"] == ""
        found = Classified(
            protocol=found.protocol,
            action=found.action,
            kind=expected.kind,
            name=None,
            body=found.body,
            stream=found.stream,
        )
    assert found == expected
    assert told["verdict"] == ("unreadable_body" if expected.body == "unread" else "ok")


@pytest.mark.parametrize("case", [*READ, *REFUSED])
def test_a_body_is_read_alike(port: int, case: str) -> None:
    body = READ[case][0] if case in READ else REFUSED[case]
    path = "/v1/chat/completions"
    agree(ask(port, "POST", path, body), classify("POST", path, body))


@pytest.mark.parametrize("case", [*CALLS_READ, *CALLS_REFUSED])
def test_a_call_is_read_alike(port: int, case: str) -> None:
    body = CALLS_READ[case][0] if case in CALLS_READ else CALLS_REFUSED[case]
    for path in ("/mcp", "/a2a"):
        agree(ask(port, "POST", path, body), classify("POST", path, body))


@pytest.mark.parametrize("case", [*MESSAGES_READ, *MESSAGES_REFUSED])
def test_a_message_is_read_alike(port: int, case: str) -> None:
    body = MESSAGES_READ.get(case) or MESSAGES_REFUSED[case]
    path = "/inference.GRPCInferenceService/ModelInfer"
    told = ask(port, "POST", path, body, {"content-type": "application/grpc", "te": "trailers"})
    agree(told, classify("POST", path, body, {"content-type": "application/grpc"}))


PARTS = {"{name}": "m1.x:7b", "{digest}": "0f" * 32, "{}": "file-1~a"}


@pytest.mark.parametrize("path", dict.fromkeys(row.path for row in TABLE))
def test_every_row_means_the_same_and_its_neighbours_too(port: int, path: str) -> None:
    filled = reduce(lambda text, hole: text.replace(hole, PARTS[hole]), PARTS, path)
    methods = [row.method for row in TABLE if row.path == path and row.source is not Source.FIRST]
    near = [
        filled + "/",
        filled + "/x",
        filled + "x",
        filled.upper(),
        filled.swapcase(),
        filled[:-1],
        filled + "%20",
    ]
    for method in [*methods, "PATCH", "OPTIONS"]:
        agree(ask(port, method, filled), classify(method, filled, None))
    for neighbour in [*near, filled.replace("m1.x:7b", "m" * 129), filled.replace("file-1~a", "a!b")]:
        agree(ask(port, "GET", neighbour), classify("GET", neighbour, None))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
def test_every_call_means_the_same(port: int, call: Call) -> None:
    named = {call.field: "a/b"} if call.field else {}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": call.method, "params": named}).encode()
    for path in ("/mcp", "/a2a"):
        agree(ask(port, "POST", path, body), classify("POST", path, body))
    for extra in (
        {"mcp-method": call.method},
        {"mcp-method": "ping"},
        {"mcp-name": "a/b"},
        {"mcp-name": "other"},
        {"mcp-method": call.method, "mcp-name": "a/b"},
    ):
        agree(ask(port, "POST", "/mcp", body, extra), classify("POST", "/mcp", body, extra))


@pytest.mark.parametrize(
    "query",
    [
        "model=a",
        "model=a&x=1",
        "x=1&model=a",
        "",
        "x",
        "model",
        "model=",
        "model=a&model=b",
        "Model=a",
        "MODEL=b&model=a",
        "mod%65l=b&model=a",
        "model=a%62",
        "model=a;model=b",
        "model[]=a",
        "model=a&+model=b",
        "x=model=b",
        "model=a&&",
        "x?model=a",
        "model=a=b",
        "xmodel=b",
    ],
)
def test_a_query_is_read_alike(port: int, query: str) -> None:
    agree(ask(port, "GET", f"/v1/realtime?{query}"), classify("GET", f"/v1/realtime?{query}", None))
    path, body = f"/v1/completions?{query}", b'{"model":"a"}'
    agree(ask(port, "POST", path, body), classify("POST", path, body))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/x.Y/Z", "application/grpc"),
        ("/x.Y/Z", "application/grpc+proto"),
        ("/x.Y/Z", "application/grpc+json"),
        ("/x.Y/Z", "application/json"),
        ("/x.Y/Z/", "application/grpc"),
        ("/x.Y", "application/grpc"),
        ("/x.Y/Z%20", "application/grpc"),
        ("/x-Y/Z", "application/grpc"),
        ("/" + "y" * 129 + "/Z", "application/grpc"),
    ],
)
def test_grpc_that_no_row_knows_is_its_service(port: int, path: str, kind: str) -> None:
    headers = {"content-type": kind}
    agree(ask(port, "POST", path, b"", headers), classify("POST", path, None, headers))


@pytest.mark.parametrize(
    "name",
    ["a", "org/llama:7b", "A.b_c-9", "", "a b", "a" * 128, "a" * 129, "a\\n", "\u00e4", "a%20b", "a\x7f"],
)
def test_a_name_is_read_alike(port: int, name: str) -> None:
    body = b'{"stream":true,"model":"' + name.encode() + b'"}'
    agree(ask(port, "POST", "/v1/embeddings", body), classify("POST", "/v1/embeddings", body))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", f"/v1/{path}")
            for path in ("completions", "responses", "embeddings", "chat/completions?x=1")
        ),
        *(
            ("GET", f"/v1/models{path}")
            for path in ("", "?a=b", "/llama", "/a:b", "/a/b", "/", "/a/", "/a%20b", "/%61")
        ),
        *(
            ("POST", path)
            for path in ("/v1/Chat/completions", "/V1/responses", "/v1/embeddings/", "/v1/embeddings//")
        ),
        *(
            ("GET", path)
            for path in ("/V1/models/a", "/v1/MODELS", "/x%2", "/x%zz", "/x%2f", "/x%5C", "/x%25", "/x%00")
        ),
        *(
            ("GET", path)
            for path in ("/", "/x", "/x%20y", "/x%C3%A4", "/x;y", "/x\\y", "/x//y", "/./x", "/x/..", "/x...")
        ),
        *(
            ("GET", path)
            for path in (
                "/.x",
                "/..x/y",
                "/x%7e",
                "/x%2D",
                "/x%3b",
                "/x%7f",
                "/x%1F",
                "/x%21",
                "/x%c0%ae",
                "/x%C1%aF",
                "/x%e0%80%ae",
                "/x%e0%a0%80",
                "/x%F0%8f%80%ae",
                "/x%f0%90%80%80",
                "/x%f5",
                "/x%FF",
                "/x%e0",
                "/~",
                "/x?y=;",
            )
        ),
        *(("DELETE", path) for path in ("/v1/models/a", "/v1/models", "/v1/embeddings/")),
        ("PUT", "/v1/chat/completions"),
    ],
)
def test_a_path_means_the_same(port: int, method: str, path: str) -> None:
    body = b'{"model":"a"}' if method in {"POST", "PUT"} else None
    told = ask(port, method, path, body)
    assert told["path"] == path.partition("?")[0]
    agree(told, classify(method, path, body))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-encoding": "identity"},
        {"content-type": "application/json"},
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": 'application/json;charset="UTF-8"'},
        {"content-type": "application/json; charset=utf-7"},
        {"content-type": "application/json; charset=utf-8; charset=utf-16"},
        {"content-type": "application/json; charset =utf-16"},
        {"content-type": "text/plain"},
    ],
)
def test_how_a_body_is_encoded_counts_alike(port: int, headers: dict[str, str]) -> None:
    body = b'{"model":"a"}'
    expected = classify(
        "POST",
        "/v1/completions",
        body,
        headers,
    )
    agree(ask(port, "POST", "/v1/completions", body, headers), expected)


def test_an_empty_body_says_nothing(port: int) -> None:
    agree(ask(port, "POST", "/v1/completions"), classify("POST", "/v1/completions", None))


@pytest.mark.parametrize(
    ("purpose", "data_class", "region"),
    [
        ("care", "2", "fr"),
        ("research", "0", "de"),
        ("care", None, "fr"),
        (None, "2", "fr"),
        ("care", "2", None),
        ("billing", "2", "fr"),
        ("car", "2", "fr"),
        ("care,OU=tier:2", "2", "fr"),
        ("care", "4", "fr"),
        ("care", "5", "fr"),
        ("care", "22", "fr"),
        ("care", "x", "fr"),
        ("care", "", "fr"),
        ("", "2", "fr"),
        ("care", "2", ""),
        ("care", "2", "us"),
        ("Care", "2", "fr"),
        ("care, care", "2", "fr"),
    ],
)
def test_claims_count_alike(
    port: int, purpose: str | None, data_class: str | None, region: str | None
) -> None:
    given = {"writ-purpose": purpose, "writ-data-class": data_class, "writ-subject-region": region}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/models", headers={k: v for k, v in given.items() if v is not None})
    told = read(connection.getresponse())
    connection.close()
    claims = accept_claims(NODE, purpose, data_class, region)
    if claims is None:
        assert told["verdict"] == "claim_not_allowed"
    else:
        assert told["verdict"] == "ok"
        assert (told["purpose"], told["data-class"], told["subject-region"]) == (
            claims.purpose,
            str(claims.data_class),
            claims.subject_region,
        )
