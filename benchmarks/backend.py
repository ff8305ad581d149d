"""A backend that costs next to nothing: answers every request with 200 and a small JSON body. One process of its own."""

import asyncio
import sys
from pathlib import Path

ANSWER = b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"}}]}'
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)


class Echo(asyncio.Protocol):
    """HTTP/1.1, content-length or chunked, pipelining not needed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            if at >= 0:
                stop = head.find(b"\r\n", at)
                size = int(head[at + 15 : stop if stop >= 0 else len(head)])
                if len(self._data) < end + 4 + size:
                    return
                self._data = self._data[end + 4 + size :]
            elif b"chunked" in head:
                last = self._data.find(b"0\r\n\r\n", end)
                if last < 0:
                    return
                self._data = self._data[last + 5 :]
            else:
                self._data = self._data[end + 4 :]
            self._transport.write(RESPONSE)  # type: ignore[attr-defined]


async def main(port_file: Path) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    temporary = port_file.with_suffix(".new")
    temporary.write_text(str(server.sockets[0].getsockname()[1]))
    temporary.replace(port_file)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(Path(sys.argv[1])))
