"""Who becomes a node by a machine certificate, and who must show it again. Invariants 3, 8 and 12."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import ca
from attacks import mutants
from attacks.control import Control
from attacks.desk import Desk
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pki import NOW, TD

from certs import keys, machine, verify
from certs.attributes import Attributes
from certs.csr import make_csr
from certs.verify import NodeIdentity
from controlplane.attest import naming
from controlplane.attest.base import X509POP, Evidence
from controlplane.attest.x509pop import CONTEXT, SOURCES, X509Pop
from controlplane.errors import ControlPlaneError
from controlplane.model import NodeRow
from controlplane.services.identity.attestation import Attestation, Configured
from controlplane.services.identity.enrolment import RENEW_CONTEXT, Enrolment

MACHINES = ca.Ca("machines", now=datetime.fromtimestamp(NOW, UTC))
HOUR_S = 3600
Key = ec.EllipticCurvePrivateKey


class Hall(Desk):
    """A desk that also takes machine certificates, and wants to see them again every hour."""

    tier = 2

    def attestors(self, clock: Callable[[], int]) -> dict[str, Configured]:
        named = naming.read("dns={node}.{site}.dc.example", SOURCES, "")
        made = X509Pop(
            [MACHINES.der], named, self.challenges, tier=self.tier, attributes=Attributes(), clock=clock
        )
        known = Configured(attestor=made, tier=self.tier, reattest_s=HOUR_S)
        return {**super().attestors(clock), X509POP: known}


@dataclasses.dataclass
class Box:
    """A machine, its key and certificate; and what it got of us."""

    name: str
    key: Key = dataclasses.field(default_factory=keys.generate_p256)
    mine: Key = dataclasses.field(default_factory=keys.generate_p256)
    leaf: bytes = b""

    def __post_init__(self) -> None:
        names = [x509.DNSName(f"{self.name}.paris.dc.example")]
        self.certificate = MACHINES.machine(self.key, names=names)

    def evidence(self, hall: Hall, csr: bytes, signer: Key | None = None) -> Evidence:
        nonce = hall.challenges.ask(self.certificate, "here")
        signature = machine.sign(signer or self.key, CONTEXT + nonce + csr)
        return Evidence(kind=X509POP, csr=csr, chain=(self.certificate,), nonce=nonce, signature=signature)

    def identity(self, hall: Hall) -> NodeIdentity:
        cas = [hall.made.node_ca.certificate]
        return verify.verify_expired_node(self.leaf, cas, TD, hall.now, grace_s=10 * HOUR_S)

    async def enrols(self, hall: Hall, shown: Evidence | None = None, idempotency: str = "a" * 20) -> bool:
        shown = shown or self.evidence(hall, make_csr(self.mine))
        found = await got(hall.enrolment.enrol(shown, idempotency, "here"))
        self.leaf = found[0] if found else self.leaf
        return bool(found)

    async def renews(self, hall: Hall, shown: Evidence | None = None, idempotency: str = "r" * 20) -> bool:
        csr = shown.csr if shown else make_csr(self.mine)
        found = await got(hall.enrolment.renew(self.identity(hall), csr, idempotency, shown))
        self.leaf = found[0] if found else self.leaf
        return bool(found)


async def got(work: Any) -> tuple[bytes, ...]:
    try:
        return tuple((await work).chain)
    except ControlPlaneError:
        return ()


async def without_the_key(hall: Hall) -> bool:
    victim = Box("gpu-1")
    return await victim.enrols(hall, victim.evidence(hall, make_csr(victim.mine), keys.generate_p256()))


async def for_another_request(hall: Hall) -> bool:
    """Somebody between the machine and us puts a key of its own into the request."""
    victim = Box("gpu-1")
    shown = victim.evidence(hall, make_csr(victim.mine))
    return await victim.enrols(hall, dataclasses.replace(shown, csr=make_csr(keys.generate_p256())))


async def shown_again(hall: Hall) -> bool:
    """All of a proof, as it was recorded: it would raise the epoch, and so end who enrolled with it."""
    box = Box("gpu-1")
    shown = box.evidence(hall, make_csr(box.mine))
    assert await box.enrols(hall, shown)
    return await box.enrols(hall, shown, "b" * 20)


async def nonce_of_another(hall: Hall) -> bool:
    box, nonce = Box("gpu-1"), hall.challenges.ask(Box("gpu-2").certificate, "here")
    csr = make_csr(box.mine)
    shown = dataclasses.replace(
        box.evidence(hall, csr), nonce=nonce, signature=machine.sign(box.key, CONTEXT + nonce + csr)
    )
    return await box.enrols(hall, shown)


async def takes_an_enrolled_name(hall: Hall) -> bool:
    """The CA of machines says a name that an operator's token gave to somebody else."""
    await hall.enrol(await hall.invited("gpu-1"))
    return await Box("gpu-1").enrols(hall, idempotency="b" * 20)


async def takes_a_revoked_name(hall: Hall) -> bool:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    await hall.nodes.revoke("gpu-1", "paris", "stolen")
    return await box.enrols(hall, idempotency="b" * 20)


async def of_no_site(hall: Hall) -> bool:
    """A machine of a site that no operator made: it has no jurisdiction."""
    box = Box("gpu-1")
    box.certificate = MACHINES.machine(box.key, names=[x509.DNSName("gpu-1.nowhere.dc.example")])
    return await box.enrols(hall)


async def _due(hall: Hall) -> Box:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    hall.now += HOUR_S
    return box


async def renewed_without(hall: Hall) -> bool:
    return await (await _due(hall)).renews(hall)


async def renewed_late_without(hall: Hall) -> bool:
    """By grace: an end is no way around."""
    box = await _due(hall)
    hall.now += 30  # within the grace of this desk
    csr, nonce = make_csr(box.mine), hall.challenges.ask(box.leaf, "here")
    signature = keys.sign(box.mine, RENEW_CONTEXT + nonce + csr)
    return bool(await got(hall.enrolment.renew_expired(box.leaf, csr, nonce, signature, "g" * 20)))


async def renewed_with_anothers(hall: Hall) -> bool:
    """The node's key on another machine, which has a certificate of its own."""
    box = await _due(hall)
    return await box.renews(hall, Box("gpu-2").evidence(hall, make_csr(box.mine)))


async def renewed_with_a_token(hall: Hall) -> bool:
    box = await _due(hall)
    text = await hall.invited("gpu-1")
    shown = Evidence(kind="join_token", csr=make_csr(box.mine), bearer=text)
    return await box.renews(hall, shown)


async def more_than_an_operator_allows(hall: Hall) -> bool:
    """A tier that an operator lowered does not come back by showing the evidence again."""
    box = Box("gpu-1")
    assert await box.enrols(hall)
    row = await hall.nodes.get("gpu-1", "paris")
    await hall.nodes.set_attributes("gpu-1", "paris", dataclasses.replace(row.declared, tier=1))
    assert await box.renews(hall, box.evidence(hall, make_csr(box.mine)))
    return box.identity(hall).attributes.tier > 1


CONTROLS = (
    Control(
        8,
        "machine: whoever holds the key, for one request",
        [
            ("a stolen machine certificate", without_the_key),
            ("a proof relayed for another request", for_another_request),
        ],
        mutants.code(
            X509Pop, "attest", "machine.check_signature(found.key, evidence.signature, signed)", "pass"
        ),
    ),
    Control(
        8,
        "machine: a challenge of its own",
        [("a proof shown again", shown_again), ("the challenge of another machine", nonce_of_another)],
        mutants.code(
            X509Pop,
            "attest",
            "not self._challenges.redeem(evidence.nonce, evidence.chain[0])",
            "False",
        ),
    ),
    Control(
        8,
        "attested: a name stays with who enrolled it",
        [("a machine takes an enrolled name", takes_an_enrolled_name)],
        mutants.code(
            Attestation,
            "node",
            "if row.state == model.ENROLLED and attested.kind not in",
            "if False and attested.kind not in",
        ),
    ),
    Control(
        8,
        "attested: not of the revoked",
        [("a machine takes a revoked name", takes_a_revoked_name)],
        mutants.code(Attestation, "node", "if row.state in model.SHUT_OUT:", "if False:"),
    ),
    Control(
        3,
        "attested: at a site that operators made",
        [("a machine of no site", of_no_site)],
        mutants.code(
            Attestation,
            "_undeclared",
            "if site is None or attested.attributes is None:",
            "site = site or rows.Stored('', SiteRow(name=attested.site, jurisdiction='XX', labels={}), 0)\n    if False:",
        ),
    ),
    Control(
        8,
        "renewal: evidence, when it is due",
        [
            ("a renewal without evidence", renewed_without),
            ("a renewal by grace without evidence", renewed_late_without),
        ],
        mutants.code(
            Enrolment, "_lacks_evidence", "asked.attested is None and self._attestation.due(row)", "False"
        ),
    ),
    Control(
        8,
        "renewal: evidence of this very node",
        [("the evidence of another machine", renewed_with_anothers)],
        mutants.code(
            Attestation,
            "attest_again",
            "(attested.node, attested.site) != (spiffe_id.node, spiffe_id.site)",
            "False",
        ),
    ),
    Control(
        8,
        "renewal: a join token proves nothing again",
        [("a renewal with a join token", renewed_with_a_token)],
        mutants.both(
            mutants.code(Attestation, "attest_again", "evidence.kind == JOIN_TOKEN", "False"),
            mutants.code(Attestation, "renewed", "attested.kind != _attestor_of(row)", "False"),
        ),
    ),
    Control(
        3,
        "tier: no more than operators allow",
        [("a tier that was lowered comes back", more_than_an_operator_allows)],
        lambda monkeypatch: monkeypatch.setattr(
            NodeRow, "effective_tier", property(lambda row: row.attested_tier)
        ),
    ),
)
