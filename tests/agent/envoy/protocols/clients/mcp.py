"""The `mcp` client against a server of the same SDK, in the newest and in the older way to connect."""

import asyncio
import sys

sys.path.pop(0)  # this folder holds a file of the same name

import uvicorn
from mcp import Client
from mcp.server.mcpserver import MCPServer

server = MCPServer("tools")


@server.tool()
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
def other() -> int:
    """Do not."""
    raise SystemExit("another tool was permitted")


@server.resource("note://one")
def one() -> str:
    """A note."""
    return "text"


@server.prompt()
def ask() -> str:
    """A prompt."""
    return "say"


async def talk(url: str, mode: str) -> None:
    async with Client(f"{url}/mcp", mode=mode) as client:
        await client.list_tools()
        print(mode, (await client.call_tool("add", {"a": 1, "b": 2})).structured_content, flush=True)
        await client.read_resource("note://one")
        await client.get_prompt("ask")
        try:
            print(mode, "denied:", await client.call_tool("other", {}), flush=True)
        except Exception as exc:
            print(mode, "denied:", repr(exc), flush=True)


async def main() -> None:
    app = server.streamable_http_app(transport_security=None, host="0.0.0.0")
    web = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(web.serve())
    while not web.started:
        await asyncio.sleep(0.01)
    print("ready", web.servers[0].sockets[0].getsockname()[1], flush=True)
    url = (await asyncio.to_thread(sys.stdin.readline)).split()[0]
    await talk(url, "auto")
    await talk(url, "legacy")
    web.should_exit = True
    web.force_exit = True
    await serving


asyncio.run(main())
