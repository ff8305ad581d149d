"""Proof of possession of a machine certificate: the machine that holds this key is here, and asks for this key of ours.

1. The nonce is ours, was given for this certificate, and was not used before: whoever sends anything else costs us nothing.
2. Its certificate leads to a CA that the operator named (`certs.machine`).
3. The certificate's key signed the nonce together with the signing request: a proof that is intercepted enrols no other key.
4. The operator's template makes one node's name of what the certificate says.
"""

from collections.abc import Callable, Sequence

from certs import machine
from certs.attributes import Attributes
from certs.errors import ChainError
from controlplane.attest.base import X509POP, Attested, Evidence
from controlplane.attest.challenges import Challenges
from controlplane.attest.naming import Naming
from controlplane.errors import NotAttestedError

CONTEXT = b"writ-attest\n"
SOURCES = ("cn", "dns", "uri")


class X509Pop:
    """The attestor of machine certificates below `roots` (DER)."""

    def __init__(
        self,
        roots: Sequence[bytes],
        naming: Naming,
        challenges: Challenges,
        *,
        tier: int,
        attributes: Attributes,
        clock: Callable[[], int],
    ) -> None:
        self._roots, self._naming, self._challenges = roots, naming, challenges
        self._tier, self._attributes, self._clock = tier, attributes, clock

    async def attest(self, evidence: Evidence) -> Attested:
        try:
            if not evidence.chain or not self._challenges.redeem(evidence.nonce, evidence.chain[0]):  # (1)
                raise NotAttestedError("the challenge is unknown or too old")
            found = machine.verify(evidence.chain, self._roots, self._clock())  # (2)
            signed = CONTEXT + evidence.nonce + evidence.csr
            machine.check_signature(found.key, evidence.signature, signed)  # (3)
        except ChainError as exc:
            raise NotAttestedError(f"not a machine of ours: {exc}") from exc
        values = {"cn": found.common_names, "dns": found.dns_names, "uri": found.uris}
        node, site = self._naming.name(values)  # (4)
        return Attested(
            kind=X509POP,
            node=node,
            site=site,
            tier=self._tier,
            attributes=self._attributes,
            until=found.not_after,
        )
