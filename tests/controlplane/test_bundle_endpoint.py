"""The bundle endpoint with certificates of the Web, which somebody else renews, in two steps and at any time."""

import asyncio

import pytest
from foreign import PARTNER, Foreign, Web

from certs.federation import HTTPS_WEB, Relationship
from controlplane.errors import UnavailableError
from controlplane.federation.endpoint import BundleEndpoint, from_files
from controlplane.federation.fetch import Fetcher

HOST = "127.0.0.1"


@pytest.fixture
def files(tmp_path):
    """Where a certificate and its key are."""
    return tmp_path / "chain.pem", tmp_path / "key.pem"


async def fetch(port: int, web: Web) -> bytes:
    of = Relationship(trust_domain=PARTNER, url=f"https://{HOST}:{port}/", profile=HTTPS_WEB)
    return await Fetcher(web.pem.decode())(of, ())


async def test_a_renewed_certificate_is_shown_and_half_of_one_is_not(files) -> None:
    chain, key = files
    old, new, document = Web(), Web(), Foreign().document()
    endpoint = BundleEndpoint(lambda: document, from_files(chain, key))
    first, second = old.site(HOST), new.site(HOST)
    key.write_bytes(first[0])
    chain.write_bytes(first[1])
    port = await endpoint.start(f"{HOST}:0")
    try:
        assert await fetch(port, old) == document
        for half in (lambda: chain.write_bytes(second[1]), chain.unlink, lambda: chain.write_bytes(b"x")):
            half()  # the key is the old one's still
            assert await fetch(port, old) == document
        chain.write_bytes(second[1])
        key.write_bytes(second[0])
        assert await fetch(port, new) == document
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            await fetch(port, old)
    finally:
        await endpoint.stop()


async def test_without_a_certificate_nothing_is_served(files) -> None:
    chain, key = files
    with pytest.raises(UnavailableError):
        await BundleEndpoint(lambda: b"{}", from_files(chain, key)).start(f"{HOST}:0")
    chain.write_bytes(Web().site(HOST)[1])
    key.write_bytes(Web().site(HOST)[0])
    with pytest.raises(UnavailableError):
        await BundleEndpoint(lambda: b"{}", from_files(chain, key)).start(f"{HOST}:0")


async def test_what_is_not_tls_gets_nothing(files) -> None:

    chain, key = files
    credential = Web().site(HOST)
    key.write_bytes(credential[0])
    chain.write_bytes(credential[1])
    endpoint = BundleEndpoint(lambda: b"{}", from_files(chain, key))
    port = await endpoint.start(f"{HOST}:0")
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert not (await reader.read()).startswith(b"HTTP")
    writer.close()
    await endpoint.stop()
