"""The lease as prefixes of the time: exactly the seconds before it."""

from hypothesis import given
from hypothesis import strategies as st

from agent.envoy import gate

SECONDS = st.integers(1_000_000_010, 9_999_999_989)  # ten digits: 2001 to 2286


def prefixes(until: int, text: str) -> int:
    return sum(text.startswith(prefix) for prefix in gate.below(until))


@given(until=SECONDS, now=SECONDS, near=st.integers(-3, 3))
def test_a_second_has_one_of_the_prefixes_iff_it_is_earlier(until: int, now: int, near: int) -> None:
    for second in (now, until + near):
        assert prefixes(until, str(second)) == (1 if second < until else 0)


def test_what_is_no_time_has_none() -> None:
    assert [prefixes(1_795_604_326, text) for text in ("", "-1", " 1", "x", "9999999999")] == [0] * 5
