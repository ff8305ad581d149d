"""Every scanner of bodies reads what has one reading, and nothing else."""

import json

import pytest
import rpc_bodies
from bodies import READ, REFUSED
from hypothesis import given
from hypothesis import strategies as st

from policies.scan import scan

WANTED = ("model", "stream")


@pytest.mark.parametrize("case", READ)
def test_what_has_one_reading_is_read(case: str) -> None:
    body, found = READ[case]
    assert scan(body, WANTED) == found


@pytest.mark.parametrize("case", REFUSED)
def test_what_some_server_reads_otherwise_is_refused(case: str) -> None:
    assert scan(REFUSED[case], WANTED) is None


@pytest.mark.parametrize("case", rpc_bodies.CALLS_READ)
def test_a_call_that_has_one_reading_is_read(case: str) -> None:
    body, found = rpc_bodies.CALLS_READ[case]
    assert scan(body, rpc_bodies.WANTED) == found


@pytest.mark.parametrize("case", rpc_bodies.CALLS_REFUSED)
def test_a_call_that_some_server_reads_otherwise_is_refused(case: str) -> None:
    assert scan(rpc_bodies.CALLS_REFUSED[case], rpc_bodies.WANTED) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('aZ0 "\\\n\u00e9\ud800{}[]:,'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abmodel", max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
TOP_KEY = st.text("abmodelstr_ -.{}[]:,", max_size=8)


@given(
    st.dictionaries(TOP_KEY.filter(lambda key: key.lower() not in WANTED), JSON, max_size=5), st.booleans()
)
def test_every_object_that_a_server_is_sent_is_read(rest: dict[str, object], stream: bool) -> None:
    body = json.dumps({**rest, "model": "org/m:1", "stream": stream}, indent=1).encode()
    assert scan(body, WANTED) == {"model": "org/m:1", "stream": stream}


FRAGMENTS = st.lists(
    st.sampled_from(
        b'{|}|[|]|,|:|"model"|"stream"|"a"|"x"|true|null| |1|-|"|\\|\\u0065|M|0|.5|\x00|\xff'.split(b"|")
    ),
    max_size=14,
).map(b"".join)


@given(FRAGMENTS | FRAGMENTS.map(lambda middle: b'{"model":"a"' + middle + b"}") | st.binary(max_size=40))
def test_whatever_is_read_python_reads_alike(body: bytes) -> None:
    found = scan(body, WANTED)
    if found is None:
        return
    try:
        value = json.loads(body.decode("utf-8", "surrogateescape"), strict=False)
    except ValueError:
        return  # a number or an escape that Python refuses: then it serves nothing either
    assert {key: value[key] for key in WANTED if value.get(key) is not None} == found
