"""What stands before operators' calls, put together: who they are, what they may do, and the log of what they did."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from audit import note
from certs import id_token, spiffe
from certs.document_keys import ED25519
from certs.id_token import Expected
from controlplane.api.https import Https
from controlplane.config import Config, OidcConfig
from controlplane.oidc.issuer import IssuerKeys, Source
from controlplane.rpc.account import Account
from controlplane.rpc.administration import Administration, Who, by_certificate, by_token
from controlplane.rpc.peer import Peers
from controlplane.services.admin.approvals import Approvals
from controlplane.services.admin.operators import Operators, appointed
from controlplane.services.admin.tokens import TokenBearers
from controlplane.services.admin.widening import Widening
from controlplane.services.authority.authorities import Authorities
from controlplane.services.evidence.recording import Recording
from controlplane.services.evidence.witness import Witness, own_origin
from controlplane.services.mesh import setup
from controlplane.services.policy.rollout import Rollout
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Of one replica."""

    peers: Peers
    operators: Operators
    witness: Witness
    recording: Recording
    approvals: Approvals
    account: Account
    rollout: Rollout
    by_certificate: Administration
    by_token: Administration | None  # none without an issuer: then the port is not opened
    servicers: dict[str, object] = field(default_factory=dict)


def made_of(
    config: Config, store: Store, made: Authorities, signer: FileSigner, publisher: Publisher
) -> Desk:
    """Everything in place; the log is opened with its first record."""
    peers, operators = Peers(store, made.trust_domain, publisher), Operators(store, made)
    witness = Witness(store, made, publisher.accuse)
    key_name = f"evidence-{config.replica}"
    public = setup.raw_public(signer, key_name, ED25519)
    recording = Recording(
        config.state_dir / "evidence",
        note.VerifierKey(own_origin(made.trust_domain, config.replica), note.NOTE, public),
        made.signing(key_name),
        witness,
        str(spiffe.control_plane_id(made.trust_domain, config.replica)),
    )
    account, rollout = Account(recording), Rollout(store, publisher)
    approvals = Approvals(store, also_by_token=bool(config.oidc.issuer))
    widening = Widening(store, publisher, rollout)

    def guard(who: Who) -> Administration:
        return Administration(who, account, approvals, widening)

    return Desk(
        peers=peers,
        operators=operators,
        witness=witness,
        recording=recording,
        approvals=approvals,
        account=account,
        rollout=rollout,
        by_certificate=guard(by_certificate(peers, operators)),
        by_token=guard(by_token(_bearers(config.oidc))) if config.oidc.issuer else None,
    )


async def appoint(desk: Desk, directory: Path) -> None:
    """Take an operator who was made on this machine, if there is one; it is recorded first."""
    given = appointed(directory, int(time.time()))
    if given is None:
        return
    log.warning("operator_appointed", operator=given.name)
    reason = "made on this machine"
    await desk.recording.keep(call_id="", call="appoint", outcome="begun", target=given.name, reason=reason)
    await desk.operators.appoint(directory, given)


def _bearers(oidc: OidcConfig) -> TokenBearers:
    expected = Expected(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        groups_claim=oidc.groups_claim,
        max_age_s=oidc.max_token_age_s,
    )
    source = Source(issuer=oidc.issuer, algorithms=id_token.ALGORITHMS, elsewhere=True)
    return TokenBearers(IssuerKeys(source, Https(oidc.ca_file)), expected, oidc.roles)
