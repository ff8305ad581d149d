"""Who does not know something yet that a generation told: what rotation waits for."""

from collections.abc import Callable

from controlplane.services.push.hub import Hub


class Acknowledged:
    """Asks what connected agents enforce, through whatever replica: the quarantined too, because they also learn of CAs and
    renew. Agents that are away hear of it before anything else.
    """

    def __init__(self, hub: Hub, linked: Callable[[], bool]) -> None:
        """`linked`: whether `hub` hears of the agents of every replica."""
        self._hub, self._linked = hub, linked

    def behind(self, generation: int, feature: str = "") -> list[str]:
        """SPIFFE IDs, also of agents that lack a feature; agents that cannot be heard are said, too."""
        agents = sorted(
            agent.spiffe_id
            for agent in self._hub.connected()
            if agent.generation < generation or (feature and feature not in agent.features)
        )
        return agents if self._linked() else [*agents, "agents of a replica that is not reached"]
