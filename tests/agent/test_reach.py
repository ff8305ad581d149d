"""Which peers can be reached: by TCP, some of many, and nothing that an address says can stop the agent."""

import asyncio

from agent.reach import MAX_PEERS, Reach
from policies.documents import Peer


def peer(name: str, address: str) -> Peer:
    return Peer(node=name, spiffe_id=f"spiffe://acme.example/de/berlin/{name}", address=address)


async def test_who_answers_is_reachable_and_nobody_else() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        peers = [peer("up", f"127.0.0.1:{port}"), peer("down", "127.0.0.1:1"), peer("odd", "nonsense")]
        reach = Reach(lambda: peers)
        await reach.look()
        assert reach.unreachable == ("down", "odd")
        peers.clear()
        await reach.look()
        assert reach.unreachable == ()


async def test_of_thousands_only_some_are_tried() -> None:
    reach = Reach(lambda: [peer(f"n-{i}", "127.0.0.1:1") for i in range(5000)])
    await reach.look()
    assert len(reach.unreachable) == MAX_PEERS
