"""What the classifier keeps of a request counts for its like alone, however near another comes."""

import http.client
from collections.abc import Iterator

import pytest
from classifying import CLAIMS, raw, read, running

from agent.envoy import classifier


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("envoy")) as port:
        yield port


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_claim_that_comes_twice_is_refused(port: int, name: str) -> None:
    """Where nothing like it is known; else by the filter behind (attack table, `claims: one value each`)."""
    assert b"verdict=claim_not_allowed" in raw(port, f"/v1/models/{name}", (name, CLAIMS[name]))


@pytest.mark.parametrize("byte", [classifier.BETWEEN, classifier.NONE])
@pytest.mark.parametrize("name", ["writ-subject-region", "content-type", "content-encoding", "x-any"])
def test_no_header_brings_a_byte_that_keys_are_made_with(port: int, name: str, byte: str) -> None:
    assert raw(port, "/v1/models", (name, byte)).startswith(b"HTTP/1.1 400")
    assert raw(port, f"/v1/models{byte}").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        (
            {"writ-purpose": "care", "writ-data-class": "2"},
            "claim_not_allowed",
        ),  # of several regions one must be named
        ({**CLAIMS, "writ-subject-region": ""}, "claim_not_allowed"),
        ({**CLAIMS, "content-encoding": ""}, "unreadable_body"),
        ({**CLAIMS, "content-type": "x; charset=utf-16"}, "unreadable_body"),
        ({**CLAIMS, "writ-purpose": "billing"}, "claim_not_allowed"),
    ],
)
def test_what_is_known_of_a_request_says_nothing_of_one_that_differs(
    port: int, headers: dict[str, str], verdict: str
) -> None:
    path, body = "/v1/completions", b'{"model":"a"}'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for sent, expected in [(CLAIMS, "ok"), (headers, verdict)] * 2:
        connection.request("POST", path, body, sent)
        response = connection.getresponse()
        response.read()
        assert read(response)["verdict"] == expected
    connection.close()
