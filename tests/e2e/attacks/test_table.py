"""The table is whole: every invariant is attacked, and what we promised to try is tried."""

from collections import Counter

import pytest
from attacks.table import TABLE

INVARIANTS = range(1, 13)
PROMISED = (
    "plaintext",
    "TLS 1.2",
    "no certificate",
    "expired",
    "a foreign root",
    "two URI SANs",
    "another trust domain",
    "an epoch below the floor",
    "a node certificate posing as the control plane",
    "a resumed session with an expired certificate",
    "a forged verdict and resource",
    "a forged client certificate",
    "no purpose, where there are several",
    "no class",
    "no region",
    "a second purpose",
    "a second class",
    "a second region",
    "an empty purpose",
    "an empty region",
    "obs-text",
    "wanted first",
    "wanted last",
    "upper case first",
    "upper case last",
    "an escaped key",
    "a nested decoy before",
    "a nested decoy after",
    "a second object",
    "a byte order mark",
    "gzip",
    "2 MiB where 1 MiB is allowed",
    "a forbid over an absent attribute",
    "an understated class",
    "an older trust document",
    "a heartbeat sent again after a later one",
    "swapped blobs",
    "a trust document by keys that nobody delegated",
    "a replica without a store",
    "used twice",
    "by fifty at once",
    "for another name",
    "a stream opened during the revocation",
    "a revoked callee",
    "the agent killed",
    "Envoy killed with records in flight",
    "killed when stored, not yet signed",
    "killed when signed, not yet answered",
    "a log on a full device",
    "torn after 3 bytes",
    "a truncated log, signed anew",
)


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_every_invariant_has_three_attacks(invariant: int) -> None:
    assert sum(len(control.attacks) for control in TABLE if control.invariant == invariant) >= 3


def test_every_control_is_attacked_and_has_a_name_of_its_own() -> None:
    assert {control.invariant for control in TABLE} == set(INVARIANTS)
    assert all(control.attacks for control in TABLE)
    assert Counter(control.name for control in TABLE).most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", PROMISED)
def test_what_was_promised_is_tried(name: str) -> None:
    assert name in {attack for control in TABLE for attack, _ in control.attacks}
