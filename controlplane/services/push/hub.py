"""Who is connected, what each has been sent, and what each enforces. In memory: agents tell it again when they return.

Agents of other replicas are here too, as their replicas tell (`rpc.links`): whoever waits for agents waits for all of them.

Sessions are woken, never written to: each takes the newest state when it is ready, so a slow agent delays nobody and
old news is skipped (latest wins). What goes to everybody is serialised once.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Difference:
    """A flow that a shadow policy decides otherwise: `allowed` by the shadow, and not by what is enforced, or the reverse."""

    direction: str
    peer: str
    action: str
    resource: str
    allowed: bool
    policy: str
    count: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """What an agent says of the shadow policy that it evaluates."""

    version: int
    decided: int
    newly_allowed: int
    newly_denied: int
    flows: tuple[Difference, ...]


class Receipt(NamedTuple):
    """An agent's signed word that it enforces a generation, when it came, and the certificate (DER) whose key signed it."""

    at_ms: int
    envelope: bytes  # DSSE JSON
    certificate: bytes = b""


@dataclass(slots=True)
class AgentState:
    """What an agent last said of itself. Owned by its session."""

    spiffe_id: str
    agent_version: str = ""
    envoy_version: str = ""
    connected: bool = False
    generation: int = 0
    policy_version: int = 0
    staged: frozenset[int] = frozenset()
    lease_until: int = 0
    last_seen: int = 0
    away_since: int = 0  # when its stream to us ended; 0: it has not, or that is not known
    error: str = ""
    not_cut: list[str] = field(default_factory=list)
    records: int = 0
    gaps: int = 0  # since the agent started
    cannot_cut: bool = False
    evidence_unwritable: bool = False
    clock_off_ms: int = 0  # its wall clock less ours, as far as the way here allows to say
    unreachable: list[str] = field(default_factory=list)  # peers
    receipts: dict[int, Receipt] = field(default_factory=dict)  # by generation
    certificate: bytes = b""  # DER, that its stream was opened with
    renew_serial: str = ""  # the certificate it is to renew before its time
    shown: tuple[int, str] = (
        0,
        "",
    )  # epoch and serial of the newest certificate that a stream was opened with
    copied: int = 0  # how often somebody came with the one before that, afterwards
    replica: str = ""  # through whom it is connected; empty: through us
    changed: int = 0  # when it last changed, in the hub's own count
    features: frozenset[str] = frozenset()  # what its tickets may need
    shadow: Shadow | None = None


MAX_RECEIPTS = 8  # of each agent, 400 bytes each: whoever waits for one waits for one of the last
TURNS_S = 0.05  # between turns of waking: shorter than anybody notices
LOOKS_APART = 10  # times what a look took
COMING_MS = 3  # of one replica, for each agent that comes: 4 ms of CPU, on two cores or more
MAX_SPREAD_MS = 60_000
TURN = 100  # sessions at the least in one turn


class Wake:
    """Tells one session that there is something for it. What there is it looks up when it is ready: the newest wins."""

    __slots__ = ("_event", "own")

    def __init__(self) -> None:
        self._event, self.own = asyncio.Event(), True

    def set(self, *, own: bool = False) -> None:
        """`own`: there is something for this node alone, not only what everybody is told."""
        self.own = self.own or own
        self._event.set()

    async def wait(self) -> bool:
        """Until there is something; True: look also for what is for this node alone."""
        await self._event.wait()
        self._event.clear()
        own, self.own = self.own, False
        return own


class Hub:
    """Sessions by SPIFFE ID, and one event for everybody who waits for an agent to get somewhere."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentState] = {}
        self.count = 0
        self._moved = asyncio.Event()
        self._latest: dict[str, AgentState] = {}  # in the order in which they changed
        self._wake: dict[str, Wake] = {}
        self._close: dict[str, Callable[[], None]] = {}

    def attach(self, spiffe_id: str, close: Callable[[], None]) -> tuple[AgentState, Wake]:
        """A session begins; an older one of the same node ends."""
        if spiffe_id in self._close:
            self._close[spiffe_id]()
        state = self.agents.setdefault(spiffe_id, AgentState(spiffe_id))
        state.connected, state.replica, state.away_since = True, "", 0
        self._wake[spiffe_id], self._close[spiffe_id] = Wake(), close
        return state, self._wake[spiffe_id]

    def detach(self, spiffe_id: str, wake: Wake) -> None:
        if self.serves(spiffe_id, wake):
            self.agents[spiffe_id].connected = False
            self.agents[spiffe_id].away_since = int(time.time())
            del self._wake[spiffe_id], self._close[spiffe_id]

    def serves(self, spiffe_id: str, wake: Wake) -> bool:
        """Is this still the node's session? A later one of the same node takes its place."""
        return self._wake.get(spiffe_id) is wake

    @property
    def spread_ms(self) -> int:
        """Over how long our agents should come to others, if we end."""
        return min(len(self._wake) * COMING_MS, MAX_SPREAD_MS)

    def wake_all(self) -> None:
        for wake in self._wake.values():
            wake.set()

    async def wake_in_turn(self, over_s: float) -> None:
        """Everybody, spread over a time: what need not be at once must not keep what must from all of them."""
        sessions = list(self._wake.values())
        turn = max(TURN, math.ceil(len(sessions) * TURNS_S / max(over_s, TURNS_S)))
        for start in range(0, len(sessions), turn):
            if start:
                await asyncio.sleep(TURNS_S)
            for wake in sessions[start : start + turn]:
                wake.set()

    def wake(self, spiffe_id: str) -> None:
        """There is something for this node alone."""
        if spiffe_id in self._wake:
            self._wake[spiffe_id].set(own=True)

    def ask_to_renew(self, spiffe_id: str, serial: str) -> None:
        """Of an agent of ours: one that is away finds it in its row when it comes back."""
        state = self.agents.get(spiffe_id)
        if state is not None and not state.replica:
            state.renew_serial = serial
            self.wake(spiffe_id)

    def drop(self, spiffe_id: str) -> None:
        """End a node's session now."""
        if spiffe_id in self._close:
            self._close[spiffe_id]()

    def agent_moved(self, *states: AgentState) -> None:
        """Something changed about these agents: whoever waits looks again."""
        for state in states:
            self.count += 1
            state.changed = self.count
            self._latest.pop(state.spiffe_id, None)
            self._latest[state.spiffe_id] = state
        self._moved.set()

    def look_again(self) -> None:
        """What everybody waits for may have changed, though no agent did."""
        self.count += 1
        self._moved.set()

    async def moved_after(self, count: int) -> None:
        """Until something changed after `count`."""
        while self.count <= count:
            self._moved.clear()  # nothing has happened since: nobody who waits loses anything
            await self._moved.wait()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for agents to get somewhere. One look at ten thousand takes long, and each of them moves: looks are spaced."""
        clock = asyncio.get_running_loop().time
        while True:
            count, started = self.count, clock()
            if reached():
                return
            await asyncio.sleep(LOOKS_APART * (clock() - started))
            await self.moved_after(count)

    def changed_since(self, count: int) -> list[AgentState]:
        """Agents that changed after `count`, the last first; costs what changed, however many there are."""
        found = []
        for state in reversed(self._latest.values()):
            if state.changed <= count:
                break
            found.append(state)
        return found

    def ours_since(self, count: int) -> list[AgentState]:
        """Agents of this replica that changed after `count`."""
        return [state for state in self.changed_since(count) if not state.replica]

    def told(self, told: AgentState) -> bool:
        """What another replica says of one of its agents; an agent that is connected here is known better here."""
        known = self.agents.get(told.spiffe_id)
        if known is not None and known.connected and known.replica != told.replica and not told.connected:
            return False
        if told.spiffe_id in self._wake:
            return False
        self.agents[told.spiffe_id] = told
        return True

    def replica_gone(self, replica: str) -> None:
        """Of its agents nothing is known any more."""
        lost = [state for state in self.agents.values() if state.replica == replica and state.connected]
        for state in lost:
            state.connected = False
        self.agent_moved(*lost)

    def connected(self) -> list[AgentState]:
        return [state for state in self.agents.values() if state.connected]


def keep_receipt(state: AgentState, generation: int, at_ms: int, envelope: bytes) -> None:
    """The first for each generation: saying it again makes it no later, and no other."""
    state.receipts.setdefault(generation, Receipt(at_ms, envelope, state.certificate))
    while len(state.receipts) > MAX_RECEIPTS:
        del state.receipts[min(state.receipts)]
