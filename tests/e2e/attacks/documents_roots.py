"""Roots that nobody vouched for, offered as a change of the root or listed in a trust document. Invariant 7."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from attacks import mutants
from attacks.control import Attack, Control
from attacks.documents import SIGNED, accepted
from pki import NOW, TD
from rooted import Root, change, document, first, sealed
from signed import signer_of

from certs import envelope
from certs.profile import CaKind
from policies import documents as d
from policies import payloads, roots
from policies.trusted import TrustedDocuments

T = TrustedDocuments
OLD, NEW, OTHER = first(SIGNED.pki), Root(20), Root(40)
NODE_CA = Root(4, SIGNED.pki.node_ca_key, TD, SIGNED.pki.node_ca)


def changes(*make: Callable[[], bytes]) -> Attack:
    return lambda node: accepted(node, lambda: node.update_roots([one() for one in make]))


def by_document_keys() -> bytes:
    """All that a stolen control plane signs documents with."""
    payload = payloads.dump_root_change(document(OLD, NEW))
    signers = [signer_of(SIGNED.keys[0]), NEW.signer()]
    return envelope.sign_envelope(d.TYPE_ROOT_CHANGE, payload, signers).to_json()


def by_a_node_ca() -> bytes:
    return sealed(document(OLD, NEW), NODE_CA, NEW)


def listed(found: Sequence[Root], *, walked: bool = False) -> Attack:
    """A newer trust document with these roots, and CAs below the last of them."""
    pki, last = SIGNED.pki, found[-1]
    document_ = SIGNED.trust(
        generation=11,
        roots=tuple(one.der for one in found),
        node_cas=(last.ca(CaKind.NODE, pki.node_ca_key),),
        control_plane_cas=(last.ca(CaKind.CONTROL_PLANE, pki.cp_ca_key),),
    )

    def attack(node: TrustedDocuments) -> bool:
        if walked:
            node.update_roots([change(OLD, NEW)])
        return accepted(node, lambda: node.update_trust(document_, NOW))

    return attack


def cross_of_an_issuing_ca() -> bytes:
    """A cross certificate by the old root for the right name, and another key."""
    bent = document(OLD, Root(NEW.serial, OTHER.key)).cross
    return sealed(document(OLD, NEW, cross=bent), OLD, NEW)


CONTROLS = (
    Control(
        7,
        "root: changed by the one before, and by the next",
        [
            ("a change by the new root alone", changes(lambda: sealed(document(OLD, NEW), NEW, NEW))),
            ("a change by the old root alone", changes(lambda: sealed(document(OLD, NEW), OLD, OLD))),
            ("a change by document keys", changes(by_document_keys)),
            ("a change by a node CA", changes(by_a_node_ca)),
            ("a change by another root", changes(lambda: sealed(document(OLD, NEW), OTHER, NEW))),
        ],
        mutants.code(
            roots, "_step", "envelope.verify_p256_all(_parse(data), d.TYPE_ROOT_CHANGE, both)", "None"
        ),
    ),
    Control(
        7,
        "root: changed from the newest",
        [
            (
                "a second change from a root that was replaced",
                changes(lambda: change(OLD, NEW), lambda: change(OLD, OTHER, 3)),
            ),
        ],
        mutants.code(roots, "_step", "if said.old != roots.newest:", "if False:"),
    ),
    Control(
        7,
        "root: versions rise by one",
        [
            ("a change to version 1", changes(lambda: change(OLD, NEW, 1))),
            ("a version twice", changes(lambda: change(OLD, NEW), lambda: change(NEW, OTHER, 2))),
        ],
        mutants.code(roots, "_step", "if said.version < 2 or", "if False and"),
    ),
    Control(
        7,
        "root: the next one is a root of ours",
        [
            ("an issuing CA as root", changes(lambda: change(OLD, NODE_CA))),
            ("the old key under another name", changes(lambda: change(OLD, Root(51, OLD.key)))),
        ],
        mutants.code(roots, "_step", "certificates.check_next(said.new, said.old, trust_domain)", "None"),
    ),
    Control(
        7,
        "root: the cross certificate is of the next one",
        [("a cross certificate for another key", changes(cross_of_an_issuing_ca))],
        mutants.code(
            roots, "_step", "certificates.check_cross(said.cross, said.new, said.old, trust_domain)", "None"
        ),
    ),
    Control(
        7,
        "root: for this mesh",
        [
            (
                "a change for another trust domain",
                changes(lambda: sealed(replace(document(OLD, NEW), trust_domain="evil.example"), OLD, NEW)),
            )
        ],
        mutants.code(roots, "_step", "if said.trust_domain != trust_domain:", "if False:"),
    ),
    Control(
        7,
        "root: listed only if it is vouched for",
        [
            ("a root that nobody vouches for, listed beside ours", listed([OLD, OTHER])),
            ("a root that is vouched for and was not heard of", listed([OLD, NEW])),
        ],
        mutants.code(T, "update_trust", "left = self.roots.listed(offered.roots)", "left = self.roots"),
    ),
    Control(
        7,
        "root: believed until the next one has delegated",
        [("the old root left out too early", listed([NEW], walked=True))],
        mutants.code(T, "update_trust", "if self._delegated_by not in offered.roots:", "if False:"),
    ),
)
