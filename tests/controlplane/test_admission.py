"""Too many at once: so many are served, so many wait, the rest are told when to come back; renewals do not stand behind them."""

import asyncio
import contextlib

import grpc
import pytest
from clients import enrolled, enrolment, root_and_ca, token
from embedded import control_plane

from agent import identity
from certs import keys
from controlplane.api.gen import sync_pb2, sync_pb2_grpc
from controlplane.api.retry import retry_after_s, told
from controlplane.api.status import to_status
from controlplane.cli.demo.mesh import TRUST_DOMAIN
from controlplane.errors import BusyError, DeniedError
from controlplane.services.identity import admission
from controlplane.services.identity.admission import Admission
from controlplane.services.push import beginnings
from controlplane.services.push.beginnings import Beginnings

HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(agent_version="1", ingress_address="127.0.0.1:7443"))


class Begun:
    """Streams at their beginning; `let_go` ends one."""

    def __init__(self, to: Admission) -> None:
        self.to, self.served, self._ends, self._tasks = to, [], {}, []

    async def come(self, *names: int) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks.append(asyncio.ensure_future(self._begin(name)))
        await asyncio.sleep(0.01)

    async def _begin(self, name: int) -> None:
        with self.to.arriving():
            async with self.to.turn():
                self.served.append(name)
                await self._ends[name].wait()

    async def let_go(self, *names: int) -> None:
        for name in names:
            self._ends[name].set()
        await asyncio.sleep(0.01)

    async def give_up(self, name: int) -> None:
        self._tasks[name].cancel()
        await asyncio.sleep(0.01)


@pytest.fixture
def small(monkeypatch) -> None:
    monkeypatch.setattr(admission, "AT_ONCE", 2)
    monkeypatch.setattr(admission, "MAX_WAITING", 5)
    monkeypatch.setattr(admission, "MANY_RENEWALS", 2)
    monkeypatch.setattr(admission, "MAX_RENEWALS", 3)
    monkeypatch.setattr(admission, "MAX_OTHERS", 1)


async def test_so_many_at_a_time_in_the_order_in_which_they_came(small) -> None:
    begun = Begun(Admission())
    await begun.come(0, 1, 2, 3, 4)
    assert begun.served == [0, 1]
    await begun.let_go(1)
    assert begun.served == [0, 1, 2]
    await begun.let_go(0, 2, 3, 4)
    assert (begun.served, begun.to.arrived) == ([0, 1, 2, 3, 4], 0)


async def test_who_comes_when_as_many_wait_as_may_is_told_when_to_come_back(small) -> None:
    begun = Begun(Admission())
    await begun.come(0, 1, 2, 3, 4)
    with pytest.raises(BusyError) as caught, begun.to.arriving():
        pass
    assert admission.RETRY_S <= caught.value.retry_s <= admission.MAX_RETRY_S
    await begun.let_go(0)
    with begun.to.arriving():
        assert begun.to.arrived == 5


async def test_who_gives_up_while_it_waits_or_as_it_is_called_takes_no_turn_away(small) -> None:
    begun = Begun(Admission())
    await begun.come(0, 1, 2, 3, 4)
    await begun.give_up(2)
    begun._ends[0].set()
    begun._tasks[3].cancel()  # in the very moment in which its turn comes
    await asyncio.sleep(0.01)
    await begun.let_go(1, 4)
    assert (begun.to.arrived, begun.served[-1]) == (0, 4)
    await begun.come(5, 6, 7)
    assert begun.served[-2:] == [5, 6]


async def test_while_many_renew_streams_begin_one_at_a_time_and_still_begin(small) -> None:
    begun = Begun(Admission())
    with contextlib.ExitStack() as renewals:
        for _ in range(2):
            renewals.enter_context(begun.to.renewal())
        await begun.come(0, 1, 2)
        assert begun.served == [0]
        await begun.let_go(0)
        assert begun.served == [0, 1]
    await asyncio.sleep(0.01)
    assert begun.served == [0, 1, 2]


async def test_renewals_and_other_calls_are_bounded_each_for_itself(small) -> None:
    to = Admission()
    with contextlib.ExitStack() as calls:
        calls.enter_context(to.other())
        with pytest.raises(BusyError), to.other():
            pass
        for _ in range(3):
            calls.enter_context(to.renewal())
        with pytest.raises(BusyError), to.renewal():
            pass
    with to.renewal(), to.other():
        pass
    assert to.refused == 2


def test_a_status_says_when_to_come_back_and_only_when_somebody_is_busy() -> None:
    def said(error) -> float:
        return told(dict(to_status(error).trailing_metadata)["grpc-status-details-bin"])

    assert said(BusyError("too many", retry_s=2.5)) == 2.5
    assert said(BusyError("too many")) == said(DeniedError("no")) == 0.0
    assert told(b"\xff\xffnot a status") == 0.0


# --- over real connections -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(admission, "MAX_WAITING", 4)
    made = control_plane(tmp_path_factory.mktemp("mesh"))
    yield made
    made.stop()
    patch.undo()


@pytest.fixture(scope="module")
def holders(mesh, tmp_path_factory):
    _, ca = root_and_ca(mesh, token(mesh, "probe"), tmp_path_factory.mktemp("t") / "token")
    return [enrolled(mesh, enrolment(mesh, ca), f"n{number}") for number in range(6)]


def channel(mesh, holder) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        mesh.context().ca.read_bytes(), keys.dump_private(holder.key, None), identity.pem(*holder.chain)
    )
    options = [
        ("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}"),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.secure_channel(mesh.replicas[0].api, credentials, options=options)


def hello(open_: grpc.aio.Channel):
    """A stream that begins as it should, and stays."""

    async def requests():
        yield HELLO
        await asyncio.Event().wait()

    return sync_pb2_grpc.SyncStub(open_).Connect(requests())


async def outcome(call) -> tuple[grpc.StatusCode, float]:
    """OK when it is served, else why not, and after how many seconds to come back."""
    try:
        await asyncio.wait_for(call.read(), 10)
    except grpc.aio.AioRpcError as exc:
        return exc.code(), retry_after_s(exc)
    finally:
        call.cancel()
    return grpc.StatusCode.OK, 0.0


async def test_a_crowd_is_turned_away_with_a_hint_and_let_in_when_there_is_room(
    mesh, holders, monkeypatch
) -> None:
    monkeypatch.setattr(Admission, "_room", lambda _: 0)  # nobody's turn comes
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel(mesh, one)) for one in holders]
        silent = sync_pb2_grpc.SyncStub(channels[5]).Connect()  # says nothing, and stands in no line
        await silent.wait_for_connection()
        asked = [asyncio.ensure_future(outcome(hello(open_))) for open_ in channels[:5]]
        (refused,), waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        code, retry_s = refused.result()
        assert (code, retry_s >= admission.RETRY_S) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        monkeypatch.setattr(Admission, "_room", lambda _: 1)
        renewed = await asyncio.to_thread(holders[0].renew, mesh, keys.generate_p256(), "r" * 20)
        assert len(renewed.chain) == 2
        assert {code for code, _ in await asyncio.gather(*waiting)} == {grpc.StatusCode.OK}
        silent.cancel()


# --- one node that comes again and again -------------------------------------------------------------------------


async def ended(call) -> tuple[grpc.StatusCode, str]:
    try:
        while await asyncio.wait_for(call.read(), 10) is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as exc:
        return exc.code(), exc.details()
    except asyncio.CancelledError:
        return grpc.StatusCode.CANCELLED, ""
    return grpc.StatusCode.OK, ""


async def test_a_node_that_comes_again_stands_in_line_once_and_leaves_room_for_others(
    mesh, holders, monkeypatch
) -> None:
    monkeypatch.setattr(Admission, "_room", lambda _: 0)  # nobody's turn comes
    async with channel(mesh, holders[1]) as hostile, channel(mesh, holders[2]) as other:
        # Five times what the line holds, and as many that say nothing at all.
        streams = [
            call for _ in range(10) for call in (sync_pb2_grpc.SyncStub(hostile).Connect(), hello(hostile))
        ]
        waiting = {asyncio.ensure_future(ended(one)) for one in streams}
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            code, why = done.pop().result()
            assert (code, "another stream of node" in why) == (grpc.StatusCode.ABORTED, True)
            waiting |= done
        served = asyncio.ensure_future(outcome(hello(other)))
        await asyncio.sleep(0)
        monkeypatch.setattr(Admission, "_room", lambda _: 1)
        await asyncio.to_thread(holders[5].renew, mesh, keys.generate_p256(), "s" * 20)  # the line moves on
        assert (await served)[0] is grpc.StatusCode.OK
        for one in streams:
            one.cancel()
        await asyncio.gather(*waiting)


async def test_the_latest_stream_of_a_node_is_served_and_the_one_before_is_told_why_it_ends(
    mesh, holders
) -> None:
    async with channel(mesh, holders[4]) as open_:
        first = hello(open_)
        assert (await first.read()).heartbeat
        second = hello(open_)
        assert (await second.read()).heartbeat
        code, why = await ended(first)
        assert (code, "another stream of node" in why) == (grpc.StatusCode.ABORTED, True)
        second.cancel()


async def test_a_node_that_comes_too_often_is_told_when_to_come_back(monkeypatch) -> None:
    monkeypatch.setattr(beginnings, "HANDFUL", 3)
    to = Beginnings()
    for _ in range(3):
        async with to.only("n"):
            pass
    for _ in range(2):  # asking in vain makes it no later
        with pytest.raises(BusyError) as caught:
            async with to.only("n"):
                pass
        assert 0 < caught.value.retry_s <= beginnings.EVERY_S
    async with to.only("m"):
        pass
    monkeypatch.setattr(to, "_clock", lambda: asyncio.get_running_loop().time() + 60)
    async with to.only("n"):
        pass
    assert list(to._paid) == ["n"]  # the rest is forgotten


async def test_what_is_wrong_inside_is_told_as_it_is() -> None:
    to = Beginnings()
    with pytest.raises(TimeoutError):
        async with to.only("n"):
            raise TimeoutError
    assert not to._open
