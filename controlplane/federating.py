"""Federation as one part of a replica: the endpoint that serves our bundle, and what fetches those of others. Wiring only."""

import time
from pathlib import Path

from certs import bundle, spiffe
from certs.federation import HTTPS_SPIFFE, HTTPS_WEB
from controlplane.config import Config
from controlplane.errors import UnavailableError
from controlplane.federation.endpoint import BundleEndpoint, from_files
from controlplane.federation.fetch import Fetcher
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.own_certificate import OwnCertificate
from controlplane.services.duty import Duty
from controlplane.services.federation import own_bundle, polling
from controlplane.services.federation.polling import Polling
from controlplane.services.federation.relationships import Federation
from controlplane.services.push.publish import Publisher
from controlplane.store.base import Store


class Federating:
    """One per process. `service` is what operators reach."""

    def __init__(self, config: Config, store: Store, made: Authorities, publisher: Publisher) -> None:
        settings = self._settings = config.federation
        certificate, key = settings.certificate_file, settings.key_file
        our_id = spiffe.federation_id(made.trust_domain)
        self.told = ("", "")
        if settings.listen:
            self.told = (HTTPS_WEB, "") if certificate else (HTTPS_SPIFFE, str(our_id))
        self._endpoint = BundleEndpoint(
            lambda: bundle.dump(own_bundle.newest(made, publisher)),
            from_files(certificate, key) if certificate and key else OwnCertificate(made, our_id).current,
        )
        self._polling = Polling(
            store,
            Duty(store, polling.DUTY, config.replica),
            Fetcher(_text(settings.web_ca_file)),
            ours=lambda: own_bundle.newest(made, publisher),
            changed=publisher.refresh,
            least_s=settings.poll_min_s,
        )
        self.service = Federation(
            store,
            made.trust_domain,
            changed=publisher.refresh,
            poll=self._polling.soon,
            clock=lambda: int(time.time()),
        )

    async def start(self) -> dict[str, int]:
        """The port that was bound, if we are to serve our bundle."""
        listen = self._settings.listen
        return {"federation": await self._endpoint.start(listen)} if listen else {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._polling.run()
        finally:
            await self._endpoint.stop()


def _text(path: Path | None) -> str:
    try:
        return path.read_text() if path else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise UnavailableError(f"cannot read `{path}`: {exc}", hint="set federation.web_ca_file") from exc
