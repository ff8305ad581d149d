"""From access-log lines to log entries: strict, bounded, and the same by template as one by one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.evidence import lines
from agent.evidence.lines import Recorder, decode
from audit import record

NODE, BOOT = "spiffe://demo.example/de/berlin/gpu-1", "0123456789abcdef"
LINE = {
    "0id": "f547789f-2e0a-4d42-b4e0-a1a08eb5add7",
    "0ms": 8,
    "0rx": 995,
    "0t": "1795538091.313",
    "0tx": 108,
    "1k": "end",
    "action": "chat",
    "body": "read",
    "class": "1",
    "code": 200,
    "details": "via_upstream",
    "dir": "in",
    "method": "POST",
    "path": "/v1/chat/completions",
    "peer": "spiffe://demo.example/fr/paris/app-1",
    "protocol": "openai",
    "purpose": "treatment",
    "rbac": "allow/g25-treatment@15/2",
    "resource": "Model/ngram",
    "serial": "408a739b",
    "stream": "false",
    "subject": "OU=tier:2,C=FR,L=paris,serialNumber=2,O=demo.example,CN=app-1",
    "tls": "TLSv1.3",
}
"""As Envoy writes it: sorted, what varies first."""
VARYING = {"id": "0id", "ms": "0ms", "rx": "0rx", "t": "0t", "tx": "0tx"}


def line(**changes: object) -> bytes:
    changed = {VARYING.get(name, name): value for name, value in changes.items()}
    return json.dumps({**LINE, **changed}, separators=(",", ":")).encode()


@given(
    ms=st.integers(-1, 1 << 60),
    path=st.text(max_size=300),
    id=st.text(max_size=70),
    purpose=st.text(max_size=60),
    details=st.sampled_from(["via_upstream", "100%", "%s%d%b", 'a"b\\c', ""]),
    t=st.sampled_from(["1795538091.313", "", "x.y", "-1.5", "1795538091"]),
)
def test_an_entry_by_template_is_the_record_one_by_one(**changes: object) -> None:
    recorder, given_line = Recorder(NODE, BOOT), line(**changes)
    whole = record.dump(lines.record(decode(given_line), NODE, BOOT, 7))
    assert recorder.entry(given_line, 7).data == whole
    assert recorder.entry(given_line, 7).data == whole  # from the template that the first has left
    assert isinstance(record.load(whole), record.DecisionRecord)


def test_like_requests_differ_in_what_varies_only() -> None:
    recorder = Recorder(NODE, BOOT)
    first = recorder.entry(line(), 1)
    second = recorder.entry(line(id="a-b", ms=9, rx=1, tx=2, t="1795538152.000"), 2)
    differ = {k for k, v in json.loads(first.data).items() if json.loads(second.data)[k] != v}
    assert differ == {"request_id", "duration_ms", "received_bytes", "sent_bytes", "time_ms", "seq"}
    assert (second.minute - first.minute, second.request_id, second.reached) == (1, b"a-b", True)


def test_what_the_callers_own_sidecar_refused_has_not_reached_the_callee() -> None:
    assert not Recorder(NODE, BOOT).entry(line(dir="out", rbac="no_permit/-@15/2", code=403), 1).reached
    assert Recorder(NODE, BOOT).entry(line(dir="in", rbac="no_permit/-@15/2", code=403), 1).reached


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"1k":"end"}',
        b'{"1k":"other","dir":"in"}',
        b'{"0ms":"8","1k":"end","dir":"in"}',
        b'{"1k":"end","dir":"in","path":"\xff"}',
        b'{"1k":"end","dir":"in"} x',
    ],
)
def test_a_line_that_is_not_exactly_one_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
    with pytest.raises(ValueError, match=r"."):
        Recorder(NODE, BOOT).entry(text, 1)
