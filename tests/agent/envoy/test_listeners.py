"""What is stripped before anything runs: every header of ours that may not come from outside, whatever its name."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agent.envoy.listeners import CLAIMS, PREFIX, _other_than

KEPT = {name.removeprefix(PREFIX) for name in (*CLAIMS, "writ-request-id")}
OTHERS = re.compile(_other_than(KEPT))


@given(
    st.one_of(st.text("purosedatcl-", max_size=9), st.sampled_from(sorted(KEPT))), st.text("se-x", max_size=2)
)
def test_the_pattern_matches_all_names_but_those_kept(name: str, more: str) -> None:
    assert bool(OTHERS.fullmatch(name + more)) is (name + more not in KEPT)


def test_every_beginning_and_every_misspelling_is_another_name() -> None:
    for name in KEPT:
        assert not OTHERS.fullmatch(name)
        for at in range(len(name)):
            assert OTHERS.fullmatch(name[:at])
            assert OTHERS.fullmatch(f"{name[:at]}~{name[at + 1 :]}")
