"""What stands before operators' calls, put together: who they are, what they may do, and the log of what they did."""

from dataclasses import dataclass

import structlog

from audit import note
from certs import spiffe
from controlplane.config import Config
from controlplane.rpc.administration import Administration, by_certificate
from controlplane.rpc.peer import Peers
from controlplane.services import setup
from controlplane.services.authorities import Authorities
from controlplane.services.operators import Operators, appointed
from controlplane.services.publish import Publisher
from controlplane.services.recording import Recording
from controlplane.services.witness import Witness, own_origin
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
    by_certificate: Administration


async def opened(
    config: Config, store: Store, made: Authorities, signer: FileSigner, publisher: Publisher
) -> Desk:
    """Everything in place, and an operator who was made on this machine appointed."""
    peers, operators = Peers(store, made.trust_domain, publisher), Operators(store, made)
    witness = Witness(store, made)
    key_name = f"evidence-{config.replica}"
    public = setup.raw_ed25519(signer, key_name)
    recording = Recording(
        config.state_dir / "evidence",
        note.VerifierKey(own_origin(made.trust_domain, config.replica), note.NOTE, public),
        made.signing(key_name),
        witness,
        str(spiffe.control_plane_id(made.trust_domain, config.replica)),
    )
    given = appointed(config.state_dir)
    if given is not None:
        log.warning("operator_appointed", operator=given.name)
        reason = "made on this machine"
        await recording.keep(call_id="", call="appoint", outcome="begun", target=given.name, reason=reason)
        await operators.appoint(config.state_dir, given)
    return Desk(
        peers=peers,
        operators=operators,
        witness=witness,
        recording=recording,
        by_certificate=Administration(by_certificate(peers, operators), recording),
    )
