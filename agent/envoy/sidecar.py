"""The Envoy of this node: adopted or started, with the ports that peers know it by. From settings to a process."""

from pathlib import Path

from agent.config import Config
from agent.envoy import bootstrap, process, sessions
from agent.envoy.process import EnvoyProcess, Run
from agent.envoy.settings import EnvoySettings
from certs.spiffe import SpiffeId

ANY_HOST = "0.0.0.0"  # noqa: S104 - compared with, not bound
FLUSH_MS = 20  # how long a record may wait in Envoy's buffer: what a killed Envoy had there is lost


class Sidecar:
    """One Envoy after another."""

    def __init__(self, config: Config, mine: SpiffeId) -> None:
        self._config, self._mine = config, mine
        self.directory = config.state_dir / "envoy"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        binary = process.find_binary(config.envoy_path)
        self.version = process.check_version(binary)
        self.process = EnvoyProcess(binary, self.directory, config.envoy_concurrency, FLUSH_MS)
        self.ports: dict[str, int] = {}
        self.starts = 0

    def adopt_or_start(self) -> tuple[Run, bool]:
        """A run of Envoy, and whether it was there before."""
        adopted = self.process.adopt()
        return adopted or self._start(), adopted is not None

    async def listening(self) -> dict[str, int]:
        """Its ports, once it has them."""
        self.ports = await self.process.listening()
        return self.ports

    def advertised(self) -> str:
        """Where peers reach its ingress."""
        host = self._config.ingress_listen.rpartition(":")[0]
        reachable = "127.0.0.1" if host == ANY_HOST else host
        return self._config.ingress_advertise or f"{reachable}:{self.ports['ingress']}"

    def _start(self) -> Run:
        boot = process.new_boot()
        self.starts += 1
        return self.process.start(bootstrap.render(self.settings(boot)), boot)

    def settings(self, boot: str) -> EnvoySettings:
        """Ports stay what they were when Envoy is started again: peers know them."""
        ingress_host, _, ingress_port = self._config.ingress_listen.rpartition(":")
        egress_host, _, egress_port = self._config.egress_listen.rpartition(":")
        return EnvoySettings(
            directory=self.directory,
            access_log=self.access_log(boot),
            trust_domain=self._mine.trust_domain,
            spiffe_id=str(self._mine),
            boot=boot,
            session_key=sessions.key(self.directory),
            ingress_host=ingress_host,
            ingress_port=self.ports.get("ingress", int(ingress_port)),
            egress_host=egress_host,
            egress_port=self.ports.get("egress", int(egress_port)),
            max_body_bytes=self._config.max_body_bytes,
            max_stream_s=self._config.max_stream_s,
        )

    def access_log(self, boot: str) -> Path:
        return self.directory / f"access-{boot}.log"
