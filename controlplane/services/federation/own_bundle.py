"""The SPIFFE bundle of this trust domain as it is now: for operators, and for those who federate with us."""

from certs import bundle
from certs.bundle import TrustBundle
from controlplane.services.authority.authorities import Authorities
from controlplane.services.push.publish import Publisher


def newest(made: Authorities, publisher: Publisher) -> TrustBundle:
    """Every change of it raises the generation, on every replica to the same number."""
    issue = publisher.issue
    keys = map(bundle.public_key, publisher.anchors.jwt_keys)
    return TrustBundle(
        trust_domain=made.trust_domain,
        roots=made.roots,
        jwt_keys={bundle.key_id(key): key for key in keys},
        sequence=issue.generation if issue else 0,
    )
