"""Fetch one bundle document, bounded: in time, in size, in redirects.

1. The endpoint is verified before it is asked: like a web site (https_web), or as exactly its SPIFFE ID below the roots that
   the caller gives (https_spiffe).
2. A redirect leads to another https URL under the same rules, a few times; where it led is not remembered.
3. Anything but a whole answer of 200 within the bounds is UnavailableError, which says why.
No proxy, cookie, cache, credential or compression.
"""

import asyncio
import ssl
from urllib.parse import urljoin

import h11

from certs import federation
from certs.errors import FederationError
from certs.federation import HTTPS_SPIFFE, MAX_BYTES, Location, Relationship
from controlplane.errors import UnavailableError

FETCH_S = 12.0  # all of it; less than the time after which another replica would take over
MAX_REDIRECTS = 3
MAX_HEADERS = 16 << 10
READ = 16 << 10
OK, REDIRECTS = 200, {301, 302, 303, 307, 308}


class Fetcher:
    """`web_ca`: PEM of whom to believe for https_web beside what this machine believes."""

    def __init__(self, web_ca: str = "") -> None:
        self._web_ca = web_ca

    async def __call__(self, of: Relationship, roots: tuple[bytes, ...]) -> bytes:
        try:
            tls = _spiffe_tls(roots) if of.profile == HTTPS_SPIFFE else _web_tls(self._web_ca)
            async with asyncio.timeout(FETCH_S):
                return await self._follow(of, tls)
        except TimeoutError as exc:
            raise UnavailableError(f"no bundle within {FETCH_S:.0f} s") from exc
        except (OSError, h11.ProtocolError, FederationError) as exc:
            raise UnavailableError(f"no bundle: {exc}") from exc

    async def _follow(self, of: Relationship, tls: ssl.SSLContext) -> bytes:
        url = of.url
        for _ in range(MAX_REDIRECTS + 1):
            found = await _ask(federation.location(url), tls, of.endpoint_id)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise UnavailableError(f"redirected more than `{MAX_REDIRECTS}` times")


def _web_tls(web_ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if web_ca:
        context.load_verify_locations(cadata=web_ca)
    return context


def _spiffe_tls(roots: tuple[bytes, ...]) -> ssl.SSLContext:
    """These roots and no others. The host says nothing: the SPIFFE ID does, checked once the path holds."""
    if not roots:
        raise UnavailableError("the bundle that verifies the endpoint has no roots")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a root of SPIFFE's need not have signed itself
    context.load_verify_locations(cadata=b"".join(roots))
    return context


async def _ask(where: Location, tls: ssl.SSLContext, endpoint_id: str) -> bytes | str:
    """A document, or where we are sent."""
    reader, writer = await asyncio.open_connection(
        where.host, where.port, ssl=tls, server_hostname=where.host, limit=READ
    )
    try:
        if endpoint_id:
            peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            federation.check_endpoint(peer or b"", endpoint_id)
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        writer.write(_request(connection, where))
        await writer.drain()
        return await _answer(connection, reader)
    finally:
        writer.transport.abort()  # a farewell would wait for the other side's


def _request(connection: h11.Connection, where: Location) -> bytes:
    host = f"[{where.host}]" if ":" in where.host else where.host
    headers = [("host", f"{host}:{where.port}"), ("accept", "application/json"), ("connection", "close")]
    request = h11.Request(method="GET", target=where.target, headers=headers)
    return connection.send(request) + connection.send(h11.EndOfMessage())


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes | str:
    response = await _next(connection, reader)
    while isinstance(response, h11.InformationalResponse):
        response = await _next(connection, reader)
    if not isinstance(response, h11.Response):
        raise UnavailableError("no bundle: the endpoint closed the connection")
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status_code in REDIRECTS and b"location" in headers:
        return headers[b"location"]
    if response.status_code != OK:
        raise UnavailableError(f"no bundle: the endpoint answered `{response.status_code}`")
    if headers.get(b"content-encoding", "identity") != "identity":
        raise UnavailableError("no bundle: the answer is compressed, which was not asked for")
    body = bytearray()
    while isinstance(event := await _next(connection, reader), h11.Data):
        body += event.data
        if len(body) > MAX_BYTES:
            raise UnavailableError(f"no bundle: the answer is over the limit of `{MAX_BYTES}` bytes")
    if not isinstance(event, h11.EndOfMessage):
        raise UnavailableError("no bundle: the answer is not whole")
    return bytes(body)


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(READ))
    return event
