"""Templates: each makes one name of one value, or is refused when settings are read."""

import pytest

from controlplane.attest import naming
from controlplane.errors import InvalidError, NotAttestedError

SOURCES = ("cn", "dns")


@pytest.mark.parametrize(
    ("template", "site", "values", "name"),
    [
        ("cn={node}", "berlin", ["gpu-1"], ("gpu-1", "berlin")),
        ("cn=host-{node}", "berlin", ["host-gpu-1"], ("gpu-1", "berlin")),
        ("cn={node}.{site}.dc.example", "", ["gpu-1.berlin.dc.example"], ("gpu-1", "berlin")),
        ("cn=spiffe://dc.example/{site}/{node}", "", ["spiffe://dc.example/berlin/a"], ("a", "berlin")),
        ("cn={node}.dc.example", "berlin", ["gpu-1", "gpu-1.dc.example"], ("gpu-1", "berlin")),
        ("cn={node}.dc.example", "berlin", ["a.dc.example", "a.dc.example"], ("a", "berlin")),
    ],
)
def test_a_template_finds_the_name(template, site, values, name) -> None:
    assert naming.read(template, SOURCES, site).name({"cn": values, "dns": ["other"]}) == name


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["gpu-1"],
        ["gpu-1xdc.example"],  # a dot is a dot
        ["a.b.dc.example"],
        ["gpu-1.dc.example.evil"],
        ["gpu-1.dc.example\n"],
        ["evil.gpu-1.dc.example"],
        ["GPU-1.dc.example"],
        ["*.dc.example"],
        ["-a.dc.example"],
        ["gpu_1.dc.example"],
        ["\u0261pu-1.dc.example"],
        ["gpu-\u0661.dc.example"],  # a digit, but not of ours
        ["a" * 64 + ".dc.example"],
        ["a" * 100_000],
        ["a.dc.example", "b.dc.example"],  # two names are none
    ],
)
def test_anything_else_is_nobody(values) -> None:
    with pytest.raises(NotAttestedError) as caught:
        naming.read("cn={node}.dc.example", SOURCES, "berlin").name({"cn": values})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("template", "site"),
    [
        ("{node}", "berlin"),
        ("ou={node}", "berlin"),
        ("cn=gpu-1", "berlin"),
        ("cn={node}", ""),
        ("cn={node}.{site}", "berlin"),
        ("cn={node}{site}", ""),
        ("cn={node}-{site}", ""),  # `a-b-c` is a in b-c, or a-b in c
        ("cn={node}x{site}", ""),
        ("cn={node}.{node}.{site}", ""),
        ("cn={node}.{zone}.{site}", ""),
        ("cn={node}}.{site}", ""),
        ("cn={Node}", "berlin"),
        ("cn={node}", "Berlin"),
        ("", ""),
    ],
)
def test_a_template_that_could_mean_two_things_is_refused(template, site) -> None:
    with pytest.raises(InvalidError):
        naming.read(template, SOURCES, site)
