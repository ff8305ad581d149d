"""The least an authoriser in Python can do: read the request, find `model` in the body, answer 200. On a Unix socket."""

import asyncio
import json
import sys


class Authorise(asyncio.Protocol):
    """HTTP/1.1 with content-length, as Envoy's ext_authz sends it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            stop = head.find(b"\r\n", at)
            size = int(head[at + 15 : stop if stop >= 0 else len(head)]) if at >= 0 else 0
            if len(self._data) < end + 4 + size:
                return
            body, self._data = self._data[end + 4 : end + 4 + size], self._data[end + 4 + size :]
            allowed = b"writ-purpose: treatment" in head and json.loads(body).get("model") == "ngram"
            status = b"200 OK" if allowed else b"403 Forbidden"
            self._transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")  # type: ignore[attr-defined]


async def main(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Authorise, path)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1]))
