"""What a run of the agent begins with: an identity, enrolled if need be, and what it had verified before."""

import time
from pathlib import Path

import structlog

from agent import enrol, identity, roots
from agent import state as states
from agent.config import Config
from agent.documents import DocumentStore
from agent.identity import Identity
from agent.sync import Received
from controlplane.api import files
from policies.roots import Roots
from policies.trusted import TrustedDocuments

log = structlog.get_logger()


async def who(config: Config) -> tuple[Identity, Roots, bytes]:
    """Identity, roots and control-plane CA (DER): those on disk, or new ones for a token that was not used yet."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.state_dir.chmod(0o700)
    now = int(time.time())
    known, ca = _anchors(config.state_dir)
    mine = identity.load(config.state_dir, known, now) if known else None
    if mine is None or _token_is_new(config):
        mine = await enrol.enrol(config, now)
        known, ca = _anchors(config.state_dir)
        log.info("enrolled", node=mine.spiffe_id.short, epoch=mine.epoch)
        _mark_token(config)
    if known is None or ca is None:
        raise RuntimeError("enrolment keeps root and CA")
    return mine, known, ca


def received(config: Config, mine: Identity, known: Roots, store: DocumentStore) -> Received:
    """What was verified before, and how long the last heartbeat still counts."""
    now = int(time.time())
    trusted = TrustedDocuments(
        root=known,
        trust_domain=mine.spiffe_id.trust_domain,
        node=str(mine.spiffe_id),
        highest=store.highest(),
    )
    delegation = files.read(config.state_dir / "documents" / "delegation.json")
    bundles = store.restore(
        trusted, delegation or files.read(config.state_dir / enrol.DELEGATION) or b"", now
    )
    found = Received(trusted=trusted, bundles=bundles, blobs=store.blobs())
    if trusted.heartbeat is not None:
        beat, short = trusted.heartbeat, config.lease_max_s
        until = min(beat.until, beat.at + short) if short else beat.until
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
        found.lease = states.Lease.heard(until, beat.at, now, boottime)
    return found


def _anchors(state_dir: Path) -> tuple[Roots | None, bytes | None]:
    return roots.load(state_dir), files.read(state_dir / enrol.CA)


def _token_is_new(config: Config) -> bool:
    """A token that is not the one we enrolled with means: enrol again (after a revocation, say)."""
    if config.token_file is None or not config.token_file.exists():
        return False
    used = files.read(config.state_dir / enrol.USED)
    return used is not None and used != enrol.read_token(config.token_file).name


def _mark_token(config: Config) -> None:
    if config.token_file is not None and config.token_file.exists():
        files.write(config.state_dir / enrol.USED, enrol.read_token(config.token_file).name)
