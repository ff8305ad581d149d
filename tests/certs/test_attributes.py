"""The subject of a node: how OpenSSL and Envoy show it, and that reading it back is exact."""

import re
import subprocess

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from pki import CLINICAL, TD, Pki

from certs import spiffe, verify
from certs.attributes import (
    MAX_VALUES,
    Attributes,
    from_rendered,
    from_subject,
    rendered,
    subject,
    subject_der,
)
from certs.errors import ChainError, ProfileError

GPU_1 = spiffe.node_id(TD, "FR", "paris", "gpu-1")
VALUES = st.frozensets(st.from_regex(r"[a-z0-9-]{1,48}", fullmatch=True), max_size=5)
ATTRIBUTES = st.builds(
    Attributes,
    tier=st.integers(0, 4),
    groups=VALUES,
    purposes=VALUES,
    regions=VALUES,
    class_floor=st.just(0),
    class_ceiling=st.integers(0, 4),
)


def test_openssl_shows_the_subject_as_we_say_envoy_does() -> None:
    """Envoy asks the same library for RFC 2253; `serialNumber` has no short name there either."""
    der = Pki().node(epoch=3).der
    asked = ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253"]
    shown = subprocess.run(asked, input=der, capture_output=True, check=True).stdout.decode().strip()
    assert shown == f"subject={rendered(x509.load_der_x509_certificate(der).subject)}"
    assert "OU=tier:2,OU=region:fr," in shown


@given(ATTRIBUTES, st.integers(1, 999_999_999))
def test_a_subject_reads_back_from_both_its_forms(attributes, epoch) -> None:
    name = subject(GPU_1, epoch, attributes)
    assert subject_der(GPU_1, epoch, attributes) == name.public_bytes()
    assert from_subject(name, GPU_1) == (epoch, attributes)
    assert from_rendered(rendered(name)) == (epoch, attributes)


@given(ATTRIBUTES, st.integers(1, 999_999_999))
def test_every_matched_part_is_followed_by_a_comma_and_never_inside_another(attributes, epoch) -> None:
    """A matcher may then look for `OU=group:a,` anywhere: it finds the group `a` and no other text."""
    text = rendered(subject(GPU_1, epoch, attributes))
    parts = [f"OU={unit}" for unit in attributes.units()] + [f"serialNumber={epoch}", "L=paris", "C=FR"]
    assert [text.count(f"{part},") for part in parts] == [1] * len(parts)
    for wanted in ("group:a", "tier:2", "region:fr"):
        assert (f"OU={wanted}," in text) == (wanted in attributes.units())


@given(ATTRIBUTES, ATTRIBUTES, st.integers(1, 999), st.integers(1, 999))
def test_the_text_up_to_the_site_is_the_class_of_attributes(one, other, first, second) -> None:
    def head(attributes: Attributes, epoch: int, node: str) -> str:
        text = rendered(subject(spiffe.node_id(TD, "FR", "paris", node), epoch, attributes))
        return text[: re.search("L=paris,", text).end()]

    assert (head(one, first, "gpu-1") == head(other, second, "gpu-2")) is (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"tier": -1},
        {"tier": 5},
        {"class_ceiling": 5},
        {"class_floor": -1},
        {"class_floor": 3, "class_ceiling": 2},
        {"groups": frozenset({""})},
        {"groups": frozenset({"A"})},
        {"groups": frozenset({"a,OU=tier:4"})},
        {"groups": frozenset({"a+b"})},
        {"groups": frozenset({"a\n"})},
        {"groups": frozenset({"a:b"})},
        {"groups": frozenset({"\u00e9"})},
        {"purposes": frozenset({"a" * 49})},
        {"regions": frozenset({"fr "})},
        {"groups": frozenset(f"g{index}" for index in range(MAX_VALUES + 1))},
    ],
)
def test_an_attribute_that_could_confuse_a_matcher_is_never_made(change) -> None:
    with pytest.raises(ProfileError):
        Attributes(**change)


@pytest.mark.parametrize("epoch", [0, -1, 1_000_000_000])
def test_an_epoch_outside_its_range_is_never_issued(epoch) -> None:
    with pytest.raises(ProfileError, match="epoch"):
        subject(GPU_1, epoch, CLINICAL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "serialNumber=1",
        "OU=tier:1,OU=class-floor:0,OU=class-ceiling:0",
        "OU=tier:1,OU=class-floor:0,OU=class-ceiling:0,serialNumber=0",
        "OU=tier:1,OU=class-floor:0,OU=class-ceiling:0,serialNumber=1,serialNumber=2",
        "OU=tier:1,OU=tier:2,OU=class-floor:0,OU=class-ceiling:0,serialNumber=1",
        "OU=tier:01,OU=class-floor:0,OU=class-ceiling:0,serialNumber=1",
        "OU=tier:" + "9" * 5000 + ",OU=class-floor:0,OU=class-ceiling:0,serialNumber=1",
        "OU=tier:1,OU=class-floor:2,OU=class-ceiling:1,serialNumber=1",
        "OU=tier:1,OU=class-floor:0,OU=class-ceiling:0,OU=what:1,serialNumber=1",
        "OU=tier:1,OU=class-floor:0,OU=class-ceiling:0,OU=,serialNumber=1",
    ],
)
def test_a_text_that_is_no_subject_of_ours_is_refused(text) -> None:
    with pytest.raises(ChainError):
        from_rendered(text)


def test_the_largest_subject_still_fits_a_certificate_that_we_read() -> None:
    """64 values of 48 characters of each kind: refused by size, it would lock its node out."""
    full = {
        name: frozenset(f"{index:02d}".ljust(48, "x") for index in range(MAX_VALUES))
        for name in ("groups", "purposes", "regions")
    }
    leaf = Pki().node(attributes=Attributes(tier=4, class_ceiling=4, **full))
    assert verify.load(leaf.der).serial_number == leaf.prepared.serial
