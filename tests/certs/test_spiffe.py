"""SPIFFE IDs by the standard's clauses (SPIFFE-ID 2.x), and that no two texts name one principal (A20)."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certs import spiffe
from certs.errors import SpiffeIdError
from certs.spiffe import SpiffeId

HOST = set((string.ascii_lowercase + string.digits + "._-").encode())
PATH = set((string.ascii_letters + string.digits + "._-").encode())


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://td/a",
        "spiffe://10.0.0.1/a",  # 2.1: what looks like an address or an odd name is a name like any other
        "spiffe://a..b/x",
        "spiffe://-a/x",
        "spiffe://td/...",
        "spiffe://td/.a",
        "spiffe://td/A_b-c.D",
        "spiffe://" + "a" * 255 + "/x",
        "spiffe://td/" + "a" * (2048 - 12),
    ],
)
def test_what_the_standard_allows_parses_and_prints_the_same(text) -> None:
    assert str(spiffe.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe:",
        "spiffe://",
        "spiffe:///a",
        "spiffe:/td/a",
        "https://td/a",
        "SPIFFE://td/a",
        "Spiffe://td/a",
        " spiffe://td/a",
        "spiffe://td/a ",
        "spiffe://td/a\n",
        "spiffe://td\n/a",
        "spiffe://td/a\x00",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/a/",
        "spiffe://td//a",
        "spiffe://td/a//b",
        "spiffe://td/.",
        "spiffe://td/./a",
        "spiffe://td/a/..",
        "spiffe://td/a/../b",
        "spiffe://td/a?",
        "spiffe://td/a?x=1",
        "spiffe://td/a#",
        "spiffe://td?/a",
        "spiffe://u@td/a",
        "spiffe://u:p@td/a",
        "spiffe://td:8443/a",
        "spiffe://td:/a",
        "spiffe://[::1]/a",
        "spiffe://t%64/a",
        "spiffe://td/%61",
        "spiffe://td/a%2fb",
        "spiffe://td\\a",
        "spiffe://TD/a",
        "spiffe://Td/a",
        "spiffe://t\u0064\u0301/a",
        "spiffe://t\u0501/a",  # Cyrillic komi de
        "spiffe://td/\uff41",
        "spiffe://td/\ud800",
        "spiffe://" + "a" * 256 + "/x",
        "spiffe://td/" + "a" * (2048 - 11),
        "spiffe://td/" + "a" * 1_000_000,
    ],
)
def test_everything_else_is_nobody(text) -> None:
    with pytest.raises(SpiffeIdError):
        spiffe.parse(text)


def test_host_and_path_take_exactly_the_standards_bytes() -> None:
    for byte in range(256):
        for text, allowed in (
            (f"spiffe://t{chr(byte)}d/a", byte in HOST or chr(byte) == "/"),
            (f"spiffe://td/a{chr(byte)}b", byte in PATH or chr(byte) == "/"),
        ):
            if allowed:
                assert str(spiffe.parse(text)) == text
            else:
                with pytest.raises(SpiffeIdError):
                    spiffe.parse(text)


@given(st.text(max_size=40))
@example("a/b")
@example("K")
def test_a_text_that_parses_is_the_only_spelling_of_its_principal(tail) -> None:
    text = f"spiffe://{tail}"
    try:
        found = spiffe.parse(text)
    except SpiffeIdError:
        return
    assert str(found) == text
    assert found == SpiffeId(found.trust_domain, found.path)


def test_an_error_never_repeats_more_than_a_little_of_what_was_sent() -> None:
    with pytest.raises(SpiffeIdError) as caught:
        spiffe.parse("x" * 2000)
    assert len(str(caught.value)) < 200


KINDS = ("is_node", "is_workload", "is_control_plane", "is_operator")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("fr/paris/gpu-1", "is_node"),
        ("fr/paris/gpu-1/worker", "is_workload"),
        ("control-plane/replica-1", "is_control_plane"),
        ("control-plane/operator/ada", "is_operator"),
        ("fr/paris", None),
        ("fr/paris/gpu-1/worker/deeper", None),
        ("FR/paris/gpu-1", None),
        ("fra/paris/gpu-1", None),
        ("f1/paris/gpu-1", None),
        ("fr/Paris/gpu-1", None),
        ("fr/paris/gpu_1", None),
        ("fr/paris/-gpu", None),
        ("fr/paris/gpu-", None),
        ("fr/par.is/gpu", None),
        ("fr/paris/" + "g" * 64, None),
        ("control-plane", None),
        ("control-plane/paris/gpu-1", None),
        ("control-plane/operator/ada/more", None),
        ("Control-plane/replica-1", None),
        ("operator/ada", None),
    ],
)
def test_a_path_is_of_one_kind_or_of_none(path, kind) -> None:
    found = spiffe.parse(f"spiffe://td/{path}")
    assert [name for name in KINDS if getattr(found, name)] == ([kind] if kind else [])


def test_a_node_tells_its_parts() -> None:
    node = spiffe.node_id("acme.example", "FR", "paris", "gpu-1")
    assert str(node) == "spiffe://acme.example/fr/paris/gpu-1"
    assert (node.jurisdiction, node.site, node.node, node.short) == ("FR", "paris", "gpu-1", "gpu-1.paris")
    assert node.workload is None
    worker = spiffe.parse(f"{node}/worker")
    assert (worker.short, worker.workload) == ("gpu-1.paris", "worker")


def test_who_is_no_node_has_no_site() -> None:
    with pytest.raises(RuntimeError, match="is not a node"):
        _ = spiffe.control_plane_id("td", "replica-1").site


@pytest.mark.parametrize(
    "text", ["", "fr", "Fr", "FRA", "F1", "F", "\u212aR", "\u0131T", "F\n", "FR\n", "\uff26\uff32"]
)
def test_a_jurisdiction_is_two_upper_case_ascii_letters(text) -> None:
    """U+212A, the Kelvin sign, folds to `k`: folding before matching would give one jurisdiction two names."""
    with pytest.raises(SpiffeIdError):
        spiffe.jurisdiction_code(text)
    with pytest.raises(SpiffeIdError):
        spiffe.node_id("td", text, "paris", "gpu-1")


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "..", "a\n", "\u00e9", "a" * 64])
def test_sites_and_nodes_are_dns_labels(text) -> None:
    for make in (
        lambda: spiffe.node_id("td", "FR", text, "gpu-1"),
        lambda: spiffe.node_id("td", "FR", "paris", text),
        lambda: spiffe.control_plane_id("td", text),
        lambda: spiffe.operator_id("td", text),
    ):
        with pytest.raises(SpiffeIdError):
            make()


@pytest.mark.parametrize("text", ["", "A", "a/b", "a b", "a:1", "a@b", "a\n", "\u00e9", "a" * 256])
def test_a_trust_domain_is_checked_before_it_is_used(text) -> None:
    with pytest.raises(SpiffeIdError):
        spiffe.trust_domain(text)
