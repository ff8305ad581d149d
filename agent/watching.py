"""The agent's port for those who watch it. Off unless `metrics.listen` is set; while the agent starts it is not ready."""

import time
from collections.abc import Callable

from agent import monitor
from agent.errors import AgentError
from agent.monitor import Facts
from controlplane.api.exposition import Metric
from controlplane.api.probes import Probes, Watched


class Watching:
    """Serves what `facts` says at that moment; None: still starting."""

    def __init__(self, facts: Callable[[], Facts | None]) -> None:
        self._facts = facts
        self._probes = Probes(Watched(metrics=self._metrics, not_ready=self._not_ready))
        self.ports: dict[str, int] = {}

    async def start(self, listen: str) -> None:
        """AgentError when it cannot be bound."""
        if not listen:
            return
        try:
            self.ports = {"metrics": await self._probes.start(listen)}
        except (OSError, ValueError) as exc:
            raise AgentError(
                f"cannot listen on `{listen}`: {exc}", hint="metrics.listen is host:port"
            ) from exc

    async def stop(self) -> None:
        await self._probes.stop()

    async def _metrics(self) -> list[Metric]:
        facts = self._facts()
        return monitor.metrics(facts, time.time()) if facts else []

    def _not_ready(self) -> list[str]:
        facts = self._facts()
        return monitor.not_ready(facts, time.time()) if facts else ["starting"]
