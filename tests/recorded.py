"""Decision records as an evidence log has them, for tests that replay."""

import dataclasses
import itertools

from audit.record import DecisionRecord

_NUMBERS = itertools.count(1)


def record(**changes: object) -> DecisionRecord:
    """An allowed chat from Paris to Berlin, recorded by the caller; `changes` are fields."""
    number = next(_NUMBERS)
    plain = DecisionRecord(
        request_id=f"00000000-0000-4000-8000-{number:012x}",
        direction="out",
        node="spiffe://acme.example/fr/paris/app-1",
        peer="spiffe://acme.example/de/berlin/gpu-1",
        peer_serial="1",
        peer_epoch="1",
        time_ms=1_700_000_000_000 + number,
        duration_ms=5,
        tls="TLSv1.3",
        protocol="openai",
        method="POST",
        path="/v1/chat/completions",
        action="chat",
        resource="Model/ngram",
        body="read",
        stream=False,
        claimed_purpose="care",
        claimed_data_class="1",
        claimed_subject_region="",
        allowed=True,
        code="",
        policy="care",
        generation=7,
        policy_version=1,
        status=200,
        details="",
        received_bytes=10,
        sent_bytes=10,
        boot="b",
        seq=number,
    )
    return dataclasses.replace(plain, **changes)


def denied(code: str = "no_permit", **changes: object) -> DecisionRecord:
    return record(allowed=False, code=code, policy="", status=403, **changes)
