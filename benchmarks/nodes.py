"""Nodes of a fleet as they connect: each with its own certificate, all with one private key. Driven by `agents` and `renewers`."""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.http2 import Connection, Ended, Message
from certs import keys
from policies import documents as d
from policies import payloads

CONNECT_S = 60


class Nodes:
    """What `fleet.seed` wrote, and where the control planes are."""

    def __init__(self, fleet: Path, domain: str, addresses: Sequence[str]) -> None:
        document = json.loads(fleet.read_text())
        self._ca, self._chains = base64.b64decode(document["ca"]).decode(), document["chains"]
        self._names, self._key_pem = document["names"], document["key"]
        self._domain, self._addresses = domain, addresses
        self._contexts: dict[int, ssl.SSLContext] = {}
        self._key = keys.load_private(self._key_pem.encode(), None)

    async def open(self, number: int, at: int, message: Message, ended: Ended) -> Connection:
        """A connection of one node to one of the addresses; OSError or TimeoutError when there is none."""
        host, _, port = self._addresses[at % len(self._addresses)].rpartition(":")
        name = f"control-plane.{self._domain}"
        async with asyncio.timeout(CONNECT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(name, message, ended),
                host,
                int(port),
                ssl=self._tls(number),
                server_hostname=name,
            )
        return connection

    def _tls(self, number: int) -> ssl.SSLContext:
        """Made once per node: reading key and chain takes longer than a handshake, and is each agent's own affair."""
        if number not in self._contexts:
            self._contexts[number] = self._context(number)
        return self._contexts[number]

    def _context(self, number: int) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the anchor is an issuing CA, as for agents
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as file:
            file.write(base64.b64decode(self._chains[number]).decode() + self._key_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def receipt(self, number: int, generation: int) -> bytes:
        at_ms = int(time.time() * 1000)
        said = payloads.dump_statement(
            self._domain, node=self._names[number], generation=generation, at_ms=at_ms
        )
        return payloads.seal(
            d.TYPE_RECEIPT, said, ("node", lambda data: keys.sign(self._key, data))
        ).to_json()
