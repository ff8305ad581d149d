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
    "k": "end",
    "dir": "in",
    "id": "f547789f-2e0a-4d42-b4e0-a1a08eb5add7",
    "t": "1795538091.313",
    "method": "POST",
    "path": "/v1/chat/completions",
    "protocol": "openai",
    "action": "chat",
    "resource": "Model/ngram",
    "body": "read",
    "stream": "false",
    "purpose": "treatment",
    "class": "1",
    "peer": "spiffe://demo.example/fr/paris/app-1",
    "subject": "OU=tier:2,C=FR,L=paris,serialNumber=2,O=demo.example,CN=app-1",
    "serial": "408a739b",
    "tls": "TLSv1.3",
    "ms": 8,
    "code": 200,
    "details": "via_upstream",
    "rbac": "allow/g25-treatment@15/2",
    "rx": 995,
    "tx": 108,
}


def line(**changes: object) -> lines.Line:
    return decode(json.dumps({**LINE, **changes}).encode())


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
    whole = record.dump(lines.record(given_line, NODE, BOOT, 7))
    assert recorder.entry(given_line, 7).data == whole
    assert recorder.entry(given_line, 7).data == whole  # from the template that the first has left
    assert isinstance(record.load(whole), record.DecisionRecord)


def test_like_requests_differ_in_what_varies_only() -> None:
    recorder = Recorder(NODE, BOOT)
    first = recorder.entry(line(), 1)
    second = recorder.entry(line(id="a-b", ms=9, rx=1, tx=2, t="1795538152.000"), 2)
    differ = {k for k, v in json.loads(first.data).items() if json.loads(second.data)[k] != v}
    assert differ == {"request_id", "duration_ms", "received_bytes", "sent_bytes", "time_ms", "seq"}
    assert (second.minute - first.minute, second.request_id, second.reached) == (1, "a-b", True)


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
        b'{"k":"end"}',
        b'{"k":"other","dir":"in"}',
        b'{"k":"end","dir":"in","ms":"8"}',
        b'{"k":"end","dir":"in","path":"\xff"}',
        b'{"k":"end","dir":"in"} x',
    ],
)
def test_a_line_that_is_not_exactly_one_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(text)
