"""From settings to the attestors that they name. What cannot be read or understood ends the start, with the key that is wrong."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs import jws
from controlplane.api import https
from controlplane.api.https import Https
from controlplane.attest import kubernetes, naming, x509pop
from controlplane.attest.base import JOIN_TOKEN, KUBERNETES, X509POP
from controlplane.attest.challenges import Challenges
from controlplane.attest.token import Invitations, JoinTokens
from controlplane.config_attest import AttestConfig, KubernetesConfig, X509PopConfig
from controlplane.errors import InvalidError
from controlplane.oidc.issuer import IssuerKeys, Source
from controlplane.services.identity.attestation import Configured

Clock = Callable[[], int]


def configured(
    config: AttestConfig, invitations: Invitations, challenges: Challenges, clock: Clock
) -> Mapping[str, Configured]:
    """By kind of evidence. InvalidError for settings that cannot be used."""
    tier = config.join_token_tier
    found = {
        JOIN_TOKEN: Configured(attestor=JoinTokens(invitations, tier=tier, clock=clock), tier=tier),
    }
    if config.x509pop is not None:
        found[X509POP] = _x509pop(config.x509pop, challenges, clock)
    if config.kubernetes is not None:
        found[KUBERNETES] = _kubernetes(config.kubernetes, clock)
    return found


def _x509pop(config: X509PopConfig, challenges: Challenges, clock: Clock) -> Configured:
    trust, roots = config.trust, [der for path in config.ca_files for der in _certificates(path)]
    names = naming.read(trust.match, x509pop.SOURCES, trust.site)
    attestor = x509pop.X509Pop(
        roots, names, challenges, tier=trust.tier, attributes=trust.attributes, clock=clock
    )
    facts = {"cas": ", ".join(hashlib.sha256(der).hexdigest()[:16] for der in roots)}
    return Configured(
        attestor=attestor,
        tier=trust.tier,
        reattest_s=trust.reattest_s,
        facts={**facts, "match": str(names), "site": trust.site},
    )


def _kubernetes(config: KubernetesConfig, clock: Clock) -> Configured:
    trust, names = config.trust, naming.read(config.trust.match, kubernetes.SOURCES, config.trust.site)
    origin = config.api_server or https.origin_of(config.issuer) or config.issuer
    server = Https(config.ca_file, origin=origin, token_file=config.token_file)
    source = Source(issuer=config.issuer, algorithms=jws.ALGORITHMS, server=config.api_server)
    accepted = kubernetes.Accepted(
        issuer=config.issuer,
        audience=config.audience,
        service_accounts=frozenset(config.service_accounts),
    )
    attestor = kubernetes.Kubernetes(
        accepted,
        IssuerKeys(source, server),
        names,
        reviewer=kubernetes.Reviewer(server=server, origin=origin) if config.api_server else None,
        tier=trust.tier,
        attributes=trust.attributes,
        clock=clock,
    )
    facts = {"issuer": config.issuer, "audience": config.audience, "match": str(names), "site": trust.site}
    facts |= {"service_accounts": ", ".join(sorted(config.service_accounts)), "review": config.api_server}
    return Configured(attestor=attestor, tier=trust.tier, reattest_s=trust.reattest_s, facts=facts)


def _certificates(path: Path) -> list[bytes]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise InvalidError(f"`{path}` holds no certificates: {exc}", hint="x509pop.ca_files") from exc
    return [cert.public_bytes(serialization.Encoding.DER) for cert in found]
