"""The verified documents on disk: what a restarted agent may enforce while the control plane is away.

Bytes are kept as they were signed and verified again at every start; the highest accepted versions are kept beside them,
written before anything acts on a document, so that a restart opens no door to a rollback.
"""

import dataclasses
import json
from pathlib import Path

import structlog

from controlplane.api import files
from policies import codec
from policies.errors import DocumentError
from policies.trusted import Highest, TrustedBundle, TrustedDocuments

log = structlog.get_logger()
DIGEST_CHARS = 64
HIGHEST, TRUST, HEARTBEAT, TICKETS, BLOBS = "highest.json", "trust.json", "heartbeat.json", "tickets", "blobs"
WORKLOADS = "workloads.json"


class DocumentStore:
    """Disk beneath `TrustedDocuments`. One agent owns the directory."""

    def __init__(self, directory: Path) -> None:
        for part in (directory, directory / TICKETS, directory / BLOBS):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def highest(self) -> Highest:
        raw = files.read(self._directory / HIGHEST)
        return Highest(**json.loads(raw)) if raw else Highest()

    def keep(self, trusted: TrustedDocuments, **documents: bytes) -> None:
        """Keep what was just accepted, and its versions. Names are those of this module's constants, in lower case."""
        versions = json.dumps(dataclasses.asdict(trusted.highest)).encode()
        named = {self._directory / f"{name}.json": data for name, data in documents.items()}
        files.write_all({self._directory / HIGHEST: versions, **named})

    def keep_ticket(self, version: int, ticket: bytes, blobs: dict[str, bytes]) -> None:
        paths = {self._directory / BLOBS / digest: data for digest, data in blobs.items()}
        files.write_all({path: data for path, data in paths.items() if not path.exists()})
        files.write(self._directory / TICKETS / f"{version}.json", ticket)

    def forget(self, versions: set[int]) -> None:
        """Drop tickets of versions that no longer count, and blobs that no ticket names."""
        for version in versions:
            (self._directory / TICKETS / f"{version}.json").unlink(missing_ok=True)

    def blobs(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in (self._directory / BLOBS).iterdir()
            if len(path.name) == DIGEST_CHARS
        }

    def drop_blobs(self, keep: set[str]) -> None:
        for path in (self._directory / BLOBS).iterdir():
            if path.name not in keep:
                path.unlink(missing_ok=True)

    def restore(self, trusted: TrustedDocuments, delegation: bytes, now: int) -> dict[int, TrustedBundle]:
        """Accept again what is on disk, as far as it still verifies; a lease that has ended stays ended."""
        bundles: dict[int, TrustedBundle] = {}
        try:
            trusted.update_delegation(delegation, now)
            raw = files.read(self._directory / TRUST)
            if raw is None:
                return {}
            trusted.update_trust(raw, now)
            self._restore_tickets(trusted, bundles, now)
            beat = files.read(self._directory / HEARTBEAT)
            if beat is not None:
                trusted.update_heartbeat(beat, now)
            workloads = files.read(self._directory / WORKLOADS)
            if workloads is not None:
                trusted.update_workloads(workloads, now)
        except DocumentError as exc:
            log.warning("document_on_disk_refused", reason=str(exc))
        return bundles

    def _restore_tickets(
        self, trusted: TrustedDocuments, bundles: dict[int, TrustedBundle], now: int
    ) -> None:
        blobs = {digest: data for digest, data in self.blobs().items() if codec.digest(data) == digest}
        found = [path.read_bytes() for path in sorted((self._directory / TICKETS).glob("*.json"))]
        accepted = trusted.restore_tickets(found, blobs, now)
        bundles.update({one.ticket.policy_version: one for one in accepted if not one.shadow})
