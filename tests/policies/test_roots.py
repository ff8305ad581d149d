"""Changes of the root: who may make one, what it proves, and what it never takes back."""

import json
import subprocess
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pki import NOW, TD, Pki
from rooted import Root, change, document, first, sealed
from signed import Signed, Twice, signer_of

from certs import authority, envelope, keys
from certs.profile import CaKind
from policies import documents as d
from policies import payloads, roots
from policies.errors import AudienceError, ContentError, DocumentError, RollbackError, SignatureError
from policies.trusted import TrustedDocuments

SIGNED = Signed()
OLD, NEW, NEWER, OTHER = first(SIGNED.pki), Root(20), Root(30), Root(40)
PINNED = roots.pinned(OLD.der)
BOTH = roots.follow(PINNED, [change(OLD, NEW)], TD)
BC = x509.BasicConstraints


def test_the_old_root_and_the_new_one_together_lead_on() -> None:
    assert (BOTH.believed, BOTH.version) == ((OLD.der, NEW.der), 2)


def test_who_slept_through_several_changes_walks_them_all() -> None:
    chain = [change(OLD, NEW), change(NEW, NEWER, 3)]
    assert roots.follow(PINNED, chain, TD).believed == (OLD.der, NEW.der, NEWER.der)
    assert roots.follow(roots.pinned(NEW.der), chain, TD).believed == (NEW.der, NEWER.der)
    assert roots.follow(roots.pinned(NEWER.der), chain, TD).believed == (NEWER.der,)


def test_what_is_known_already_changes_nothing() -> None:
    for chain in ([], [change(OLD, NEW)]):
        assert roots.follow(BOTH, chain, TD) == BOTH


def recertified(**replaced: object) -> Root:
    """The new root's certificate, one extension bent, signed again by its own key."""
    return Root(NEW.serial, NEW.key, TD, rebuilt(NEW.der, NEW.key, **replaced))


def rebuilt(der: bytes, key: object, **replaced: object) -> bytes:
    cert = x509.load_der_x509_certificate(der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(replaced.pop("subject", cert.subject))
        .issuer_name(replaced.pop("issuer", cert.issuer))
        .public_key(replaced.pop("public_key", cert.public_key()))
        .serial_number(cert.serial_number)
        .not_valid_before(cert.not_valid_before_utc)
        .not_valid_after(replaced.pop("until", cert.not_valid_after_utc))
    )
    bent = {type(value): (value, critical) for value, critical in replaced.values()}
    for one in cert.extensions:
        builder = builder.add_extension(*bent.get(type(one.value), (one.value, one.critical)))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def crossed(**replaced: object) -> bytes:
    """A change whose cross certificate is bent, and signed by the old root all the same."""
    said = document(OLD, NEW)
    return sealed(document(OLD, NEW, cross=rebuilt(said.cross, OLD.key, **replaced)), OLD, NEW)


def of(new: Root) -> bytes:
    return change(OLD, new)


def a_ca() -> x509.KeyUsage:
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage)


NAMES = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://other.example")])
DAY_LATER = x509.load_der_x509_certificate(OLD.der).not_valid_after_utc.replace(year=2100)
FORGED = {
    "by the new root alone": (sealed(document(OLD, NEW), NEW), SignatureError),
    "by the new root twice": (sealed(document(OLD, NEW), NEW, NEW), SignatureError),
    "by the old root alone": (sealed(document(OLD, NEW), OLD), SignatureError),
    "by the old root twice": (sealed(document(OLD, NEW), OLD, OLD), SignatureError),
    "by both, and by a third": (sealed(document(OLD, NEW), OLD, NEW, OTHER), SignatureError),
    "by an unknown root": (sealed(document(OLD, NEW), OTHER, NEW), SignatureError),
    "from an unknown root": (change(OTHER, NEW), SignatureError),
    "as another kind of document": (sealed(document(OLD, NEW), OLD, NEW, kind=d.TYPE_DELEGATION), SignatureError),
    "for another trust domain": (sealed(document(OLD, NEW, trust_domain="other.example"), OLD, NEW), AudienceError),
    "to a root of another trust domain": (of(Root(50, domain="other.example")), ContentError),
    "to itself": (change(OLD, OLD), ContentError),
    "to another certificate of the old key": (of(Root(51, OLD.key)), ContentError),
    "to another key of the old name": (of(Root(OLD.serial)), ContentError),
    "to a root that is version 1": (change(OLD, NEW, 1), RollbackError),
    "to an issuing CA": (
        of(Root(4, SIGNED.pki.node_ca_key, TD, SIGNED.pki.node_ca)), ContentError,
    ),
    "to a root with a longer path": (of(recertified(bc=(BC(ca=True, path_length=None), True))), ContentError),
    "to a root without room": (of(recertified(bc=(BC(ca=True, path_length=1), True))), ContentError),
    "to no CA": (of(recertified(bc=(BC(ca=False, path_length=None), True))), ContentError),
    "to a CA that is not marked critical": (of(recertified(bc=(BC(ca=True, path_length=2), False))), ContentError),
    "to a root that signs more than certificates": (of(recertified(usage=(a_ca(), True))), ContentError),
    "to a root whose name is of another trust domain": (of(recertified(names=(NAMES, False))), ContentError),
    "to garbage": (sealed(replace(document(OLD, NEW), new=b"garbage"), OLD, NEW), ContentError),
    "without a cross certificate": (sealed(document(OLD, NEW, cross=b""), OLD, NEW), ContentError),
    "cross certificate by the new root": (
        sealed(document(OLD, NEW, cross=rebuilt(document(OLD, NEW).cross, NEW.key)), OLD, NEW), ContentError,
    ),
    "cross certificate of another root": (
        sealed(document(OLD, NEW, cross=document(OLD, NEWER).cross), OLD, NEW), ContentError,
    ),
    "cross certificate of another key": (crossed(public_key=OTHER.key.public_key()), ContentError),
    "cross certificate with a longer path": (crossed(bc=(BC(ca=True, path_length=2), True)), ContentError),
    "cross certificate without a bound": (crossed(bc=(BC(ca=True, path_length=None), True)), ContentError),
    "cross certificate that is no CA": (crossed(bc=(BC(ca=False, path_length=None), True)), ContentError),
    "cross certificate for another trust domain": (crossed(names=(NAMES, False)), ContentError),
    "cross certificate that signs more": (crossed(usage=(a_ca(), True)), ContentError),
    "cross certificate that outlives the roots": (crossed(until=DAY_LATER), ContentError),
    "no envelope": (b"{}", SignatureError),
    "an envelope of something else": (SIGNED.trust(), SignatureError),
}  # fmt: skip


@pytest.mark.parametrize("offered", FORGED)
def test_a_forged_change_is_refused(offered: str) -> None:
    data, error = FORGED[offered]
    with pytest.raises(DocumentError) as caught:
        roots.follow(PINNED, [data], TD)
    if offered != "an envelope of something else":
        assert type(caught.value) is error


def test_whoever_signs_for_the_mesh_makes_no_change() -> None:
    """A stolen control plane has document keys, a node CA, a control-plane CA; and may have made the new root."""
    said = payloads.dump_root_change(document(OLD, NEW))
    pki = SIGNED.pki
    thieves: list[envelope.Signer] = [
        signer_of(SIGNED.keys[0]),
        *(
            ("ca", lambda data, key=key: keys.sign(key, data))
            for key in (pki.node_ca_key, pki.cp_ca_key, pki.workload_ca_key)
        ),
    ]
    for thief in thieves:
        data = envelope.sign_envelope(d.TYPE_ROOT_CHANGE, said, [thief, NEW.signer()]).to_json()
        with pytest.raises(SignatureError):
            roots.follow(PINNED, [data], TD)


def test_a_step_that_does_not_hold_refuses_the_whole_chain() -> None:
    chain = [change(OLD, NEW), sealed(document(NEW, NEWER, version=3), NEWER, NEWER)]
    with pytest.raises(SignatureError):
        roots.follow(PINNED, chain, TD)


@pytest.mark.parametrize("version", [2, 4])
def test_versions_follow_one_another(version: int) -> None:
    with pytest.raises(RollbackError):
        roots.follow(PINNED, [change(OLD, NEW), change(NEW, NEWER, version)], TD)


def test_a_second_change_from_a_root_that_was_replaced_is_refused() -> None:
    """The old root's thief cannot turn those who have gone on."""
    fork = change(OLD, OTHER)
    for known in (BOTH, BOTH.since(NEW.der)):
        with pytest.raises(SignatureError, match="leads on"):
            roots.follow(known, [fork], TD)
    with pytest.raises(SignatureError, match="lead on"):
        roots.follow(PINNED, [change(OLD, NEW), fork], TD)


def test_a_chain_is_bounded() -> None:
    with pytest.raises(ContentError, match="limit"):
        roots.follow(PINNED, [change(OLD, NEW)] * (roots.MAX_CHANGES + 1), TD)


def test_a_root_without_room_gives_no_cross_certificate() -> None:
    """As meshes were made before there were changes: path length 1."""
    bare = Root(OLD.serial, OLD.key, TD, rebuilt(OLD.der, OLD.key, bc=(BC(ca=True, path_length=1), True)))
    without = sealed(document(bare, NEW, cross=b""), bare, NEW)
    assert roots.follow(roots.pinned(bare.der), [without], TD).newest == NEW.der
    with pytest.raises(ContentError, match="no room"):
        roots.follow(roots.pinned(bare.der), [change(bare, NEW)], TD)


def test_a_cross_certificate_leads_openssl_from_the_old_root_to_a_leaf_below_the_new(tmp_path) -> None:
    below = Pki(root_key=NEW.key, now=int(time.time()))
    old_key = keys.generate_p256()
    old = authority.make_root(TD, old_key, serial=9, now=below.now)
    cross = authority.make_cross(below.root, old, old_key, serial=10, now=below.now)
    files = {"old": [old], "between": [below.node_ca, cross], "leaf": [below.node().der]}
    for name, ders in files.items():
        certs = [x509.load_der_x509_certificate(der) for der in ders]
        (tmp_path / name).write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certs))
    command = ["openssl", "verify", "-CAfile", tmp_path / "old", "-untrusted", tmp_path / "between", tmp_path / "leaf"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- what a trust document may say of roots --------------------------------------------------------------------------


def delegated(by: Root, version: int, signed: Signed = SIGNED) -> bytes:
    document_ = d.Delegation(
        trust_domain=TD, version=version, expires=NOW + 86_400, threshold=2,
        keys=signed.document_keys(), algorithms=signed.algorithms,
    )  # fmt: skip
    return payloads.seal(d.TYPE_DELEGATION, payloads.dump_delegation(document_), by.signer()).to_json()


def below(root: Root) -> dict[str, object]:
    pki = SIGNED.pki
    return {
        "node_cas": (root.ca(CaKind.NODE, pki.node_ca_key),),
        "control_plane_cas": (root.ca(CaKind.CONTROL_PLANE, pki.cp_ca_key),),
    }


@pytest.fixture
def node() -> TrustedDocuments:
    made = SIGNED.node()
    made.update_delegation(SIGNED.delegation(), NOW)
    made.update_trust(SIGNED.trust(), NOW)
    return made


def refuses(node: TrustedDocuments, data: bytes, why: str) -> None:
    before = (node.highest, node.trust, node.roots)
    with pytest.raises(ContentError, match=why):
        node.update_trust(data, NOW)
    assert (node.highest, node.trust, node.roots) == before


def test_an_agent_goes_from_root_to_root(node: TrustedDocuments) -> None:
    node.update_roots([change(OLD, NEW)])
    node.update_trust(SIGNED.trust(generation=11, roots=(OLD.der, NEW.der)), NOW)
    node.update_delegation(delegated(NEW, 2), NOW)
    node.update_trust(SIGNED.trust(generation=12, roots=(OLD.der, NEW.der), **below(NEW)), NOW)
    assert node.roots.believed == (OLD.der, NEW.der)
    node.update_trust(SIGNED.trust(generation=13, roots=(NEW.der,), **below(NEW)), NOW)
    assert node.roots.believed == (NEW.der,)
    for by_the_old in (delegated(OLD, 3), SIGNED.delegation(version=4)):
        with pytest.raises(SignatureError):
            node.update_delegation(by_the_old, NOW)
    refuses(node, SIGNED.trust(generation=14, roots=(OLD.der, NEW.der), **below(NEW)), "begin with a root")


def test_a_control_plane_that_was_stolen_lists_no_root_of_its_own(node: TrustedDocuments) -> None:
    """It has the document keys: workloads would be given its root to believe."""
    refuses(node, SIGNED.trust(generation=11, roots=(OLD.der, OTHER.der)), "vouches")
    refuses(node, SIGNED.trust(generation=11, roots=(OTHER.der, OLD.der)), "begin with a root")
    refuses(node, SIGNED.trust(generation=11, roots=(OTHER.der,), **below(OTHER)), "delegated")
    refuses(node, SIGNED.trust(generation=11, roots=(OLD.der, OLD.der)), "vouches")
    refuses(node, SIGNED.trust(generation=11, roots=()), "delegated")


def test_it_cannot_take_the_old_root_away_before_the_new_one_has_delegated(node: TrustedDocuments) -> None:
    node.update_roots([change(OLD, NEW)])
    refuses(node, SIGNED.trust(generation=11, roots=(NEW.der,), **below(NEW)), "delegated")


def test_a_ca_counts_below_a_root_that_is_listed_and_no_other(node: TrustedDocuments) -> None:
    refuses(node, SIGNED.trust(generation=11, **below(NEW)), "did not sign")
    node.update_roots([change(OLD, NEW)])
    refuses(node, SIGNED.trust(generation=11, **below(NEW)), "did not sign")
    both = SIGNED.trust(generation=11, roots=(OLD.der, NEW.der), **below(OTHER))
    refuses(node, both, "did not sign")


def test_two_signatures_stay_two_below_the_next_root() -> None:
    twice = Twice(pki=SIGNED.pki)
    node = twice.node()
    node.update_delegation(twice.delegation(), NOW)
    node.update_roots([change(OLD, NEW)])
    node.update_delegation(delegated(NEW, 2, twice), NOW)
    listed = twice.trust_document(generation=11, roots=(OLD.der, NEW.der))
    payload = payloads.dump_trust(listed)
    stripped = payloads.seal(d.TYPE_TRUST, payload, *map(signer_of, twice.keys[:2])).to_json()
    with pytest.raises(SignatureError):
        node.update_trust(stripped, NOW)
    node.update_trust(twice.seal(d.TYPE_TRUST, payload), NOW)


def test_what_was_dropped_cannot_be_had_again_by_replaying_the_change(node: TrustedDocuments) -> None:
    node.update_roots([change(OLD, NEW)])
    node.update_delegation(delegated(NEW, 2), NOW)
    node.update_trust(SIGNED.trust(generation=12, roots=(NEW.der,), **below(NEW)), NOW)
    node.update_roots([change(OLD, NEW)])
    assert node.roots.believed == (NEW.der,)


def test_the_payload_names_three_certificates_and_no_more() -> None:
    payload = json.loads(payloads.dump_root_change(document(OLD, NEW)))
    assert set(payload) == {"v", "td", "version", "old", "new", "cross"}
