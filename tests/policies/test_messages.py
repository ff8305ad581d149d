"""The reader of gRPC requests reads what every parser reads alike, and nothing else."""

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from rpc_bodies import MESSAGES_READ, MESSAGES_REFUSED, NAMED, framed

from policies import messages
from policies.grammar import RESOURCE_NAME


@pytest.mark.parametrize("case", MESSAGES_READ)
def test_what_has_one_reading_is_read(case: str) -> None:
    assert messages.read(MESSAGES_READ[case], 1) == "ngram"


@pytest.mark.parametrize("case", MESSAGES_REFUSED)
def test_what_some_server_reads_otherwise_names_nothing(case: str) -> None:
    found = messages.read(MESSAGES_REFUSED[case], 1)
    assert found is None or not RESOURCE_NAME.fullmatch(found)


PIECES = st.lists(
    st.sampled_from(
        [NAMED, b"\x0a", b"\x05", b"\x12\x02ab", b"\x08\x01", b"\x80", b"\xff\x01", b"\x0b", b"\x0c"]
    ),
    max_size=6,
).map(b"".join)


@given(PIECES | st.binary(max_size=24).map(lambda tail: NAMED + tail))
def test_whatever_is_read_protobuf_reads_alike(message: bytes) -> None:
    found = messages.read(framed(message), 1)
    if found is None:
        return
    parsed = descriptor_pb2.FileDescriptorProto()  # field 1 is `name`, a string
    try:
        parsed.MergeFromString(message)
    except Exception:  # noqa: BLE001 - whatever the library raises: then it serves nothing
        return
    if isinstance(parsed.name, bytes):  # no UTF-8: it names nothing
        assert not RESOURCE_NAME.fullmatch(found)
    else:
        assert parsed.name == found


def test_only_the_first_message_of_a_stream_counts() -> None:
    assert messages.first(framed(NAMED) + framed(b"x")) == framed(NAMED)
