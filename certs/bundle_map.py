"""SPIFFE bundle maps: several trust domains' bundles in one document, each under its own name and never merged.

(SPIFFE Trust Domain and Bundle 5.) A name that occurs twice refuses the map; how often the map is fetched is the map's own
hint, whatever the bundles in it say of themselves.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from certs import bundle, spiffe
from certs.bundle import REFRESH_HINT_S, TrustBundle
from certs.errors import BundleError, SpiffeIdError

NAME = "trust_domains"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleMap:
    """Bundles by trust domain, and when to ask for the map again."""

    bundles: Mapping[str, TrustBundle]
    documents: Mapping[str, bytes]
    """Each bundle as it stood in the map, for whoever keeps documents."""
    refresh_hint_s: int = REFRESH_HINT_S


def dump(documents: Mapping[str, bytes], refresh_hint_s: int = REFRESH_HINT_S) -> bytes:
    """A map of bundle documents by trust domain; BundleError if one of them is none."""
    for name, document in documents.items():
        bundle.load(document, name)
    found = {name: json.loads(document) for name, document in sorted(documents.items())}
    return json.dumps({NAME: found, "spiffe_refresh_hint": refresh_hint_s}, separators=(",", ":")).encode()


def load(data: bytes) -> BundleMap:
    """BundleError for what is no map, for a name twice, and for a bundle in it that is malformed."""
    document = bundle.parse(data)
    found = document.get(NAME)
    if not isinstance(found, dict):
        raise BundleError(f"bundle map has no `{NAME}`")
    documents = {name: json.dumps(one, separators=(",", ":")).encode() for name, one in found.items()}
    try:
        bundles = {spiffe.trust_domain(name): bundle.load(one, name) for name, one in documents.items()}
    except SpiffeIdError as exc:
        raise BundleError(str(exc)) from exc
    hint = bundle.number(document, "spiffe_refresh_hint")
    return BundleMap(
        bundles=bundles, documents=documents, refresh_hint_s=REFRESH_HINT_S if hint is None else hint
    )
