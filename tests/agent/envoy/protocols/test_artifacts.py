"""Artifacts are moved by digest: what they are, who may, and that no part of one is a way around."""

import pytest
from harness import Place, described

DIGEST = "0f" * 32


@pytest.mark.parametrize(
    ("method", "kind", "name", "expected"),
    [
        ("PUT", "model", "ngram", "artifact push Model/ngram none"),
        ("GET", "model", "ngram", "artifact pull Model/ngram none"),
        ("HEAD", "model", "ngram", "artifact pull Model/ngram none"),
        ("PUT", "adapter", "ngram", "artifact push Model/ngram none"),
        ("GET", "gradient", "ngram", "artifact pull Model/ngram none"),
        ("GET", "dataset", "ask", "artifact pull Dataset/ask none"),
    ],
)
def test_an_artifact_is_its_model_or_dataset(place: Place, method, kind, name, expected) -> None:
    assert (
        place.ask(method, f"/artifacts/{kind}/{name}@{DIGEST}", b"x" if method == "PUT" else None).status
        == 200
    )
    seen = place.web.backend.seen[-1]["headers"]
    assert described({key.lower(): value for key, value in seen.items()}) == expected


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (f"/artifacts/model/other@{DIGEST}", "unknown_resource"),
        (f"/artifacts/dataset/ngram@{DIGEST}", "unknown_resource"),
        (f"/artifacts/model/ngram@{DIGEST.upper()}", "unreadable_body"),
        (f"/artifacts/model/ngram@sha256:{DIGEST}", "unreadable_body"),
        (f"/artifacts/model/ngram@{DIGEST[:-1]}", "unreadable_body"),
        (f"/artifacts/model/ngram@x@{DIGEST}", "unreadable_body"),
        (f"/artifacts/model/ngram%40{DIGEST}@{DIGEST}", "unreadable_body"),
    ],
)
def test_another_name_or_another_spelling_is_denied(place: Place, target: str, code: str) -> None:
    before = len(place.web.backend.seen)
    for headers in ({}, {"Range": "bytes=0-9"}):
        assert place.send("GET", target, None, headers).json["error"]["code"] == code
    assert len(place.web.backend.seen) == before


def test_a_large_upload_is_never_held_back(place: Place) -> None:
    """Larger than any body that a rule may read."""
    body = b"x" * (3 << 20)
    assert place.ask("PUT", f"/artifacts/model/ngram@{DIGEST}", body).status == 200
    assert len(place.web.backend.seen[-1]["body"]) == len(body)
