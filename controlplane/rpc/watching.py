"""For those who watch a control plane: HTTP on the metrics port, with revocation lists, and gRPC health on the API.

Reading every node for one scrape is cheap (`services.overview` keeps what it parsed); a store that is away makes the scrape
fail, and `/ready` red by the missing heartbeats.
"""

import asyncio
import time
from importlib import metadata

from grpc_health.v1 import health, health_pb2

from certs import crl
from controlplane.api.exposition import Metric
from controlplane.api.pages import Page
from controlplane.api.probes import Probes, Watched
from controlplane.config import Config
from controlplane.errors import UnavailableError
from controlplane.services import vitals
from controlplane.services.authority.crls import Crls
from controlplane.services.evidence.recording import Recording
from controlplane.services.identity.admission import Admission
from controlplane.services.identity.attestation import Attestation
from controlplane.services.overview import Overviews
from controlplane.services.pulse import Pulse
from controlplane.services.push.publish import Publisher
from controlplane.services.vitals import Vitals

SERVICES = ("", "writ.v1.Identity", "writ.v1.Sync", "writ.v1.Evidence")
FOR_OPERATORS = ("writ.v1.Admin", "writ.v1.Revocation", "writ.v1.Overview")
LOOK_S = 1.0
# Read once: it is a file, and there may be no descriptor left when it is asked for.
VERSION = metadata.version("writ-mesh")
Status = health_pb2.HealthCheckResponse


class Watching:
    """One per process. `health` is a servicer for the API."""

    def __init__(
        self,
        config: Config,
        publisher: Publisher,
        overviews: Overviews,
        crls: Crls,
        attestation: Attestation,
        admission: Admission,
        pulse: Pulse,
        recording: Recording,
    ) -> None:
        self._config, self._publisher, self._overviews = config, publisher, overviews
        self._crls, self._attestation = crls, attestation
        self._admission, self._pulse, self._recording = admission, pulse, recording
        self._probes = Probes(Watched(metrics=self._metrics, not_ready=self.not_ready, page=self._page))
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # bound at run time

    async def start(self) -> dict[str, int]:
        """The port that was bound, if one was asked for."""
        listen = self._config.metrics_listen
        if not listen:
            return {}
        try:
            return {"metrics": await self._probes.start(listen)}
        except (OSError, ValueError) as exc:
            raise UnavailableError(
                f"cannot listen on `{listen}`: {exc}", hint="metrics.listen is host:port"
            ) from exc

    async def run(self) -> None:
        """Keep gRPC health true, until cancelled; then say that we are going."""
        try:
            while True:
                ready = not self.not_ready()
                for service in SERVICES:
                    await self.health.set(service, _serving(ready))
                for service in FOR_OPERATORS:
                    await self.health.set(service, _serving(ready and self._recording.writable))
                await asyncio.sleep(LOOK_S)
        finally:
            await self._probes.stop()

    def not_ready(self) -> list[str]:
        return vitals.not_ready(self._vitals(), time.time())

    async def _metrics(self) -> list[Metric]:
        now = time.time()
        return vitals.metrics(self._vitals(), await self._overviews.look(int(now)), now)

    async def _page(self, path: str) -> Page | None:
        """`/crl/<key id>.crl` of each CA of this replica, and all of them as `/crl.pem`."""
        if path == "/crl.pem":
            return Page(crl.pem(one.der for one in await self._crls.newest()), "application/x-pem-file")
        if not path.startswith("/crl/"):
            return None
        found = {f"/crl/{one.key_id}.crl": one.der for one in await self._crls.newest()}
        return Page(found[path], "application/pkix-crl") if path in found else None

    def _vitals(self) -> Vitals:
        config, issue = self._config, self._publisher.issue
        signed_at = issue.lease_until - config.lease_s if issue else None
        return Vitals(
            version=VERSION,
            beat_age_s=None if signed_at is None else max(0.0, time.time() - signed_at),
            heartbeat_s=max(config.heartbeat_s, 1.0),  # heartbeats carry whole seconds
            lease_s=config.lease_s,
            svid_lifetime_s=config.svid_lifetime_s,
            authorities=self._overviews.authorities(),
            evidence_refused=self._attestation.refused,
            arriving=self._admission.arrived,
            refused=self._admission.refused,
            store=self._pulse.last,
            evidence_writable=self._recording.writable,
        )


def _serving(well: bool) -> int:
    return int(Status.SERVING if well else Status.NOT_SERVING)
