"""SPIFFE-ID: what is an ID, by the letter, and stricter where two spellings could name one principal."""

import pytest
import workloads
from cryptography import x509
from pki import TD, Pki

from certs import spiffe, verify
from certs.errors import ChainError, SpiffeIdError
from certs.spiffe import parse

LONGEST = "spiffe://td/" + "a" * (2048 - len("spiffe://td/"))


def refused(*texts: str) -> None:
    for text in texts:
        with pytest.raises(SpiffeIdError):
            parse(text)


def accepted(*texts: str) -> None:
    for text in texts:
        assert str(parse(text)) == text


def test_id_01_the_scheme_is_spiffe() -> None:
    refused("https://td/a", "spiffe:/td/a", "spiffe:td/a", "//td/a", "td/a", "")


def test_id_02_the_trust_domain_is_not_empty() -> None:
    refused("spiffe:///a", "spiffe://", "spiffe:///")


def test_id_03_no_query_and_no_fragment() -> None:
    refused("spiffe://td/a?x", "spiffe://td/a#f", "spiffe://td/a?", "spiffe://td/a#", "spiffe://td?x/a")


def test_id_04_no_user_and_no_port() -> None:
    refused("spiffe://u@td/a", "spiffe://u:p@td/a", "spiffe://@td/a", "spiffe://td:8443/a", "spiffe://td:/a")


def test_id_05_only_the_characters_of_a_trust_domain() -> None:
    good = {chr(code) for code in range(256) if _is_id(f"spiffe://t{chr(code)}d/a")} - {"/"}
    assert good == set("abcdefghijklmnopqrstuvwxyz0123456789.-_")


def test_id_06_no_percent_encoding() -> None:
    refused("spiffe://t%64/a", "spiffe://td/%61", "spiffe://td/a%2Fb")


def test_id_07_a_dotted_quad_is_a_name_and_an_ipv6_address_is_none() -> None:
    accepted("spiffe://10.0.0.1/a", "spiffe://a..b/x", "spiffe://-a/x", "spiffe://1/x")
    refused("spiffe://[::1]/a", "spiffe://::1/a")


def test_id_08_no_empty_and_no_dot_segments() -> None:
    refused("spiffe://td//", "spiffe://td/a//b", "spiffe://td/./a", "spiffe://td/a/..", "spiffe://td/../a")
    accepted("spiffe://td/...", "spiffe://td/.a", "spiffe://td/a.")


def test_id_09_no_slash_at_the_end() -> None:
    refused("spiffe://td/", "spiffe://td/a/")


def test_id_10_only_the_characters_of_a_segment() -> None:
    good = {chr(code) for code in range(256) if _is_id(f"spiffe://td/a{chr(code)}b")} - {"/"}
    assert good == set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    refused("spiffe://td/ä", "spiffe://td/а", "spiffe://td/a\u200b")  # noqa: RUF001 - a Cyrillic one


def test_id_11_2048_bytes_are_understood_and_more_is_never_made() -> None:
    accepted(LONGEST)
    refused(LONGEST + "a")
    longest = spiffe.workload_id(spiffe.node_id("t" * 255, "FR", "s" * 63, "n" * 63), "w" * 63)
    assert len(str(longest)) < 2048


def test_id_12_trust_domains_of_255_bytes_and_no_more() -> None:
    accepted(f"spiffe://{'t' * 255}/a")
    refused(f"spiffe://{'t' * 256}/a")
    with pytest.raises(SpiffeIdError):
        spiffe.trust_domain("t" * 256)


def test_id_13_no_two_texts_name_one_principal() -> None:
    refused("SPIFFE://td/a", "Spiffe://td/a", "spiffe://TD/a", "spiffe://tD/a")
    assert parse("spiffe://td/A") != parse("spiffe://td/a")


def test_id_14_a_changed_name_breaks_the_signature(caller) -> None:
    pki = Pki()
    leaf = pki.node().der
    changed = leaf.replace(b"paris/gpu-1", b"paris/gpu-2")
    assert changed != leaf
    with pytest.raises(ChainError, match="not signed by the CA"):
        verify.verify_node(changed, [pki.node_ca], TD, pki.now)
    token = caller.tokens("api")[0].svid
    header, claims, signature = token.split(".")
    flipped = claims[:-8] + ("A" if claims[-8] != "A" else "B") + claims[-7:]
    assert (
        workloads.status(caller.validate, f"{header}.{flipped}.{signature}")
        == workloads.CODE.INVALID_ARGUMENT
    )


def test_id_15_a_signing_authority_is_named_by_its_trust_domain(caller) -> None:
    root = x509.load_der_x509_certificate(caller.svids()[0].bundle)
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [workloads.TD_ID]


def _is_id(text: str) -> bool:
    try:
        parse(text)
    except SpiffeIdError:
        return False
    return True
