"""Federation with other trust domains, as the SPIFFE Federation standard has it. No clock, no I/O.

1. A relationship is a trust domain other than ours, an https URL and a profile; `https_spiffe` names the one SPIFFE ID that
   the endpoint must have, and nothing less is taken for it.
2. `https_spiffe` endpoints are verified with the bundle of the trust domain of their own ID: with the latest that was
   fetched if that is the one they serve. `https_web` endpoints are verified like web sites, by their host.
3. A bundle replaces the one before only if it is not older, and one sequence number has one content.
Path validation and the proof of possession of the endpoint's key are TLS's; fetching is the caller's.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509

from certs import bundle, spiffe
from certs.bundle import TrustBundle
from certs.errors import BundleError, ChainError, FederationError, SpiffeIdError
from certs.keys import spki
from certs.verify import load as load_certificate

HTTPS_WEB, HTTPS_SPIFFE = "https_web", "https_spiffe"
MAX_BYTES = 64 << 10  # a bundle of a hundred keys; each node that federates carries it in a signed document
MAX_URL = 2048
MIN_POLL_S, MAX_POLL_S = 60, 3600  # a hint of 0 must not make us hammer, one of a year not sleep
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """Where the bundle of a trust domain is fetched, and how the endpoint proves that it may serve it."""

    trust_domain: str
    url: str
    profile: str  # https_web, https_spiffe
    endpoint_id: str = ""  # https_spiffe only

    @property
    def vouching(self) -> str:
        """The trust domain whose bundle verifies an `https_spiffe` endpoint."""
        return spiffe.parse(self.endpoint_id).trust_domain


@dataclass(frozen=True, slots=True)
class Location:
    """A checked URL, in parts."""

    host: str
    port: int
    target: str


def check(relationship: Relationship, ours: str) -> Relationship:
    """The same, or FederationError."""
    try:
        spiffe.trust_domain(relationship.trust_domain)
        if relationship.trust_domain == ours:
            raise FederationError("a trust domain does not federate with itself")  # (1)
        location(relationship.url)
        if relationship.profile != (HTTPS_SPIFFE if relationship.endpoint_id else HTTPS_WEB):
            raise FederationError(
                f"a profile is {HTTPS_WEB}, or {HTTPS_SPIFFE} with the SPIFFE ID of the endpoint"
            )
        if relationship.endpoint_id:
            spiffe.parse(relationship.endpoint_id)
    except SpiffeIdError as exc:
        raise FederationError(str(exc)) from exc
    return relationship


def location(url: str) -> Location:
    """Where an https URL leads; FederationError for another scheme, a user, a fragment, or no host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise FederationError(f"`{url[:256]}` is no URL: {exc}") from exc
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise FederationError("a URL has at most 2048 characters, all of them ASCII")
    if parts.scheme != "https" or "@" in parts.netloc or "#" in url or not _is_host(host) or port == 0:
        raise FederationError(f"`{url[:256]}` is no bundle endpoint: https://HOST[:PORT]/PATH, without user")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Location(host, 443 if port is None else port, target)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return HOST.fullmatch(host) is not None
    return True


def check_endpoint(leaf: bytes, endpoint_id: str) -> None:
    """Is this leaf, whose path TLS has validated, an X509-SVID of exactly `endpoint_id`? FederationError if not."""
    try:
        extensions = load_certificate(leaf).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        constraints = [one.value for one in extensions if isinstance(one.value, x509.BasicConstraints)]
    except (ValueError, ChainError, x509.ExtensionNotFound, x509.DuplicateExtension) as exc:
        raise FederationError("the endpoint's certificate is no X509-SVID") from exc
    if any(one.ca for one in constraints) or usage.key_cert_sign or usage.crl_sign:
        raise FederationError("the endpoint shows a signing certificate")
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [endpoint_id]:
        raise FederationError(f"the endpoint is not `{endpoint_id}`")


def read(document: bytes, trust_domain: str) -> TrustBundle:
    """A bundle that may be kept: BundleError when it is none, or too large for what must carry it."""
    if len(document) > MAX_BYTES:
        raise BundleError(f"bundle of `{len(document)}` bytes is over the limit of `{MAX_BYTES}`")
    return bundle.load(document, trust_domain)


def check_newer(offered: TrustBundle, held: TrustBundle) -> None:
    """BundleError unless `offered` may replace `held` (3). Without sequence numbers there is no order to hold it to."""
    if offered.sequence is None or held.sequence is None:
        return
    if offered.sequence < held.sequence:
        raise BundleError(f"bundle rollback: offered `{offered.sequence}`, held `{held.sequence}`")
    if offered.sequence == held.sequence and content(offered) != content(held):
        raise BundleError(f"bundle changed without a new sequence number, still `{held.sequence}`")


def content(of: TrustBundle) -> tuple[frozenset[bytes], dict[str, bytes]]:
    """Whom a bundle believes, without its order, number and hint."""
    keys = {kid: spki(key) for kid, key in of.jwt_keys.items()}
    return frozenset(of.roots), keys


def poll_after_s(hint_s: int, least_s: int = MIN_POLL_S) -> int:
    """When to ask again: at the refresh hint, within bounds."""
    return min(max(hint_s, least_s), MAX_POLL_S)
