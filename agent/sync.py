"""The stream to the control plane: documents down, what is enforced up. Nothing is believed because of the stream.

Documents are verified (`policies.trusted`), kept on disk, and only then acted on. What is refused changes nothing and is
reported. The stream is opened again with jittered backoff, well within a lease, and says what is already held.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

import grpc
import structlog

from agent import state as states
from agent.documents import DocumentStore
from agent.state import Lease
from controlplane.api.gen import sync_pb2, sync_pb2_grpc
from controlplane.api.retry import retry_after_s
from policies import codec
from policies.errors import DocumentError, MixError, RollbackError, SignatureError
from policies.roots import Roots
from policies.trusted import FEATURES, TrustedBundle, TrustedDocuments

log = structlog.get_logger()
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 20.0
HEALTH_S, UNCHANGED_S = 5.0, 30.0  # how often an agent looks at itself; and says so, though nothing is new
ALWAYS_NEW = ("lease_until", "records", "clock_ms")  # in its health: no news


@dataclass(slots=True)
class Received:
    """What has been verified so far. Owned by `Sync`; others read it after `changed` is set."""

    trusted: TrustedDocuments
    bundles: dict[int, TrustedBundle]
    shadow: TrustedBundle | None = None  # evaluated beside what is enforced; not kept on disk
    blobs: dict[str, bytes] = field(default_factory=dict)
    lease: Lease = field(default_factory=Lease)
    error: str = ""

    def roots(self) -> Roots:
        """Those that are believed now."""
        return self.trusted.roots

    def chosen(self) -> TrustedBundle | None:
        """The newest version that counts; None before there is one."""
        trust = self.trusted.trust
        return states.select(self.bundles, trust) if trust else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the rest of the agent wants to be told."""

    changed: Callable[[], None]
    renew: Callable[[str], None]  # the serial of the certificate that is to be replaced
    reissue: Callable[[Collection[bytes], int], None]
    """CAs (DER) whose certificates are to be replaced, and within how many seconds."""
    roots: Callable[[Roots], None]  # what is believed now, to be kept
    hello: Callable[[], sync_pb2.Hello]
    health: Callable[[], sync_pb2.Health]


class Sync:
    """One stream at a time, for ever."""

    def __init__(self, received: Received, store: DocumentStore, hooks: Hooks, lease_max_s: int = 0) -> None:
        self.received, self._store, self._hooks, self._lease_max_s = received, store, hooks, lease_max_s
        self._up: asyncio.Queue[sync_pb2.SyncRequest] = asyncio.Queue(256)
        self._mended = asyncio.Event()
        self._spread_s = 0.0
        self.receipts_along = False
        """The control plane reads receipts in `Enforcing`."""
        self.connected = False
        self.sessions = 0
        """How many streams were begun: a new one has been told nothing yet."""
        self.denied = False
        """The control plane has said, over its own TLS, that this node is none of its."""

    def report(self, request: sync_pb2.SyncRequest) -> None:
        """Queue something for the control plane; what does not fit is told again at the next change."""
        if not self._up.full():
            self._up.put_nowait(request)

    async def run(self, channel: Callable[[], grpc.aio.Channel], move: Callable[[], None]) -> None:
        """Connect, and connect again. `channel` gives the current one: a new identity has a new channel.

        `move` turns to another control plane: any will do, and none can offer less than what was accepted before.
        """
        backoff = FIRST_BACKOFF_S
        while True:
            started, asked_s = time.monotonic(), 0.0
            try:
                await self._session(channel())
            except grpc.aio.AioRpcError as exc:
                log.info("sync_lost", code=exc.code().name, reason=exc.details())
                asked_s = retry_after_s(exc)
                if exc.code() is grpc.StatusCode.PERMISSION_DENIED:
                    self.denied = True
                    self._hooks.changed()
                move()
            except TimeoutError:
                log.info("sync_lost", code="SILENT", reason="no heartbeat in a quarter of the lease")
                move()
            except SignatureError as exc:
                log.info("sync_lost", code="NOT_OURS", reason=str(exc))
                move()
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # runs in a task
                    raise
                backoff = FIRST_BACKOFF_S  # our own doing: the channel of the certificate before was closed
                continue
            finally:
                self.connected = False
            if time.monotonic() - started > MAX_BACKOFF_S:
                backoff = FIRST_BACKOFF_S
            quarter_s, spread_s = self._lease_length() / 4, self._spread_s
            if spread_s:  # served until now: if it was not us alone, all of the others come now, too
                self._spread_s = 0.0
                await asyncio.sleep(min(spread_s, quarter_s) * random.random())  # noqa: S311 - jitter
            longest = max(FIRST_BACKOFF_S, min(MAX_BACKOFF_S, quarter_s))
            if asked_s:  # around what it said: all who were told the same must not come back together
                await asyncio.sleep(min(asked_s * random.uniform(0.5, 1.5), longest))  # noqa: S311 - jitter
                continue
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            backoff = min(backoff * 2, longest)

    def _lease_length(self) -> float:
        beat = self.received.trusted.heartbeat
        length = beat.until - beat.at if beat else MAX_BACKOFF_S
        return float(min(length, self._lease_max_s or length))

    async def _session(self, channel: grpc.aio.Channel) -> None:
        self.sessions += 1
        self.receipts_along = False
        while not self._up.empty():
            self._up.get_nowait()
        call = sync_pb2_grpc.SyncStub(channel).Connect(self._requests())
        responses = aiter(call)
        try:
            while True:
                # A control plane that is cut off from its store keeps the stream, and has nothing to say.
                async with asyncio.timeout(self._lease_length() / 4 * random.uniform(0.8, 1.0)):  # noqa: S311 - jitter
                    response = await anext(responses)
                self.connected, self.denied = True, False
                self._spread_s = response.spread_ms / 1000 or self._spread_s
                self.receipts_along |= response.receipts_along
                self._take(response)
        except StopAsyncIteration:
            return
        finally:
            call.cancel()

    async def _requests(self) -> AsyncIterator[sync_pb2.SyncRequest]:
        yield sync_pb2.SyncRequest(hello=self._hooks.hello())
        self._hooks.changed()  # say again what is enforced
        clock = asyncio.get_running_loop().time
        due = clock() + HEALTH_S
        again, said = due, sync_pb2.Health()
        while True:  # health is due by the clock, not when there is nothing else to say
            item = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    item = await self._up.get()
            if item is not None:
                yield item
            if clock() >= due:
                due, health = clock() + HEALTH_S, self._hooks.health()
                if clock() >= again or _news(health) != said:
                    again = clock() + min(UNCHANGED_S, self._lease_length() / 6)
                    said = _news(health)
                    yield sync_pb2.SyncRequest(health=health)

    # --- documents ---------------------------------------------------------------------------------------------

    def _take(self, response: sync_pb2.SyncResponse) -> None:
        """SignatureError: this control plane is none of the mesh any more, and nothing else that it says will count."""
        now, refused = int(time.time()), None
        try:
            self._accept(response, now)
            self.received.error = ""
        except DocumentError as exc:
            log.warning("document_refused", kind=type(exc).__name__, reason=str(exc))
            self.received.error, refused = f"{type(exc).__name__}: {exc}", exc
        if response.renew_serial:
            self._hooks.renew(response.renew_serial)
        if response.reissue.cas:
            self._hooks.reissue(frozenset(response.reissue.cas), response.reissue.within_s)
        self._hooks.changed()
        if isinstance(refused, SignatureError):
            raise refused

    def _accept(self, response: sync_pb2.SyncResponse, now: int) -> None:
        self._of_the_mesh(response, now)
        if response.workloads:
            self._workloads(response.workloads, now)
        for blob in response.blobs:
            self.received.blobs[codec.digest(blob)] = blob
        if response.tickets:  # all that there are for us: a shadow that is not among them has ended
            self.received.shadow = None
        for ticket in response.tickets:
            self._ticket(ticket, now)
        if response.tickets:
            self._forget()

    def _of_the_mesh(self, response: sync_pb2.SyncResponse, now: int) -> None:
        """What is the same for every node, kept in one go before any of it counts: a revocation waits for the disk."""
        trusted, lease = self.received.trusted, None
        if response.root_changes:  # kept before what is signed by them
            self._keep_roots(trusted.roots, trusted.update_roots(response.root_changes))
        before, kept = trusted.roots, dict[str, bytes]()
        try:
            if response.delegation:
                trusted.update_delegation(response.delegation, now)
                kept["delegation"] = response.delegation
            if response.trust_document:
                trusted.update_trust(response.trust_document, now)
                kept["trust"] = response.trust_document
            if response.heartbeat:
                lease = self._heartbeat(response.heartbeat, now)
                kept["heartbeat"] = response.heartbeat
        finally:
            if kept:
                self._store.keep(trusted, **kept)
            self._keep_roots(before, trusted.roots)
        self.received.lease = lease or self.received.lease

    def _keep_roots(self, before: Roots, now: Roots) -> None:
        if now != before:
            log.info("roots_changed", believed=len(now.believed), version=now.version)
            self._hooks.roots(now)

    def _heartbeat(self, data: bytes, now: int) -> Lease:
        try:
            beat = self.received.trusted.update_heartbeat(data, now)
        except MixError:
            log.info("heartbeat_waits_for_trust_document")
            raise
        until = min(beat.until, beat.at + self._lease_max_s) if self._lease_max_s else beat.until
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
        return Lease.heard(until, beat.at, now, boottime)

    def _workloads(self, data: bytes, now: int) -> None:
        try:
            self.received.trusted.update_workloads(data, now)
        except RollbackError as exc:
            # As with tickets: another replica told us more.
            log.info("older_workloads_ignored", offered=exc.offered, trusted=exc.trusted)
            return
        self._store.keep(self.received.trusted, workloads=data)

    def _ticket(self, data: bytes, now: int) -> None:
        trusted = self.received.trusted
        try:
            bundle = trusted.update_ticket(data, self.received.blobs, now)
        except RollbackError as exc:
            # Another replica signed the like later, or this one is behind: what is held is at least as new.
            log.info("older_ticket_ignored", offered=exc.offered, trusted=exc.trusted)
            return
        if bundle.shadow:
            self.received.shadow = bundle
            self._store.keep(trusted)
            return
        version = bundle.ticket.policy_version
        named = {digest: self.received.blobs[digest] for digest in (bundle.ticket.rules, bundle.ticket.peers)}
        self._store.keep(trusted)
        self._store.keep_ticket(version, data, named)
        self.received.bundles[version] = bundle

    def _forget(self) -> None:
        """Keep what counts or may yet count, and nothing else."""
        trust = self.received.trusted.trust
        if trust is None:
            return
        for version in states.outdated(self.received.bundles, trust):
            del self.received.bundles[version]
            self._store.forget({version})
        held = [*self.received.bundles.values(), *([self.received.shadow] if self.received.shadow else [])]
        named = {d for b in held for d in (b.ticket.rules, b.ticket.peers)}
        self.received.blobs = {
            digest: blob for digest, blob in self.received.blobs.items() if digest in named
        }
        self._store.drop_blobs(named)


def _news(health: sync_pb2.Health) -> sync_pb2.Health:
    """What of it a control plane should know at once. Ten thousand agents that repeat themselves keep it from its work."""
    news = sync_pb2.Health()
    news.CopyFrom(health)
    for name in ALWAYS_NEW:
        news.ClearField(name)
    return news


def features() -> list[str]:
    return sorted(FEATURES)
