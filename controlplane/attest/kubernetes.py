"""Projected service-account tokens: an API server says in which pod, and on which machine, its bearer runs.

1. The token is signed by a key of the configured issuer, for our audience, and for now (`certs.web_token`).
2. It is of a service account that the operator listed, and bound to a pod that exists while it is valid.
3. Where an API server is given, it is asked (TokenReview), and must say the same: a pod that was deleted is nobody at once.
4. The operator's template makes one node's name of the machine's, the pod's, or the service account's.
It is a bearer token: whoever reads it is believed, until it ends. So it enrols one key and no other (`once`), and proves again
only what its bearer's certificate says already.
NOT decided here: who may start a pod with that service account. Whoever may, may be these nodes.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from certs import web_token
from certs.attributes import Attributes
from certs.errors import TokenError
from certs.jws import Key
from controlplane.attest.base import KUBERNETES, Attested, Evidence
from controlplane.attest.naming import Naming
from controlplane.errors import NotAttestedError, UnavailableError

SOURCES = ("machine", "pod", "service_account")
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
POD_UID = "authentication.kubernetes.io/pod-uid"


class Keys(Protocol):
    """The keys of the issuer; UnavailableError when none may be believed."""

    async def keys(self, key_id: str) -> Mapping[str, Key]: ...


class Server(Protocol):
    """An API server that answers in bounded time and size, or UnavailableError."""

    async def post(self, url: str, document: Mapping[str, Any]) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """The API server that is asked about each token."""

    server: Server
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What the claims of a token say. `machine` is empty where the API server is older than 1.30."""

    namespace: str
    service_account: str
    name: str
    uid: str
    machine: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Which tokens count: from whom, for whom, and of which service accounts (`namespace/name`)."""

    issuer: str
    audience: str
    service_accounts: Collection[str]


class Kubernetes:
    """The attestor of service-account tokens. Without a `reviewer` the keys decide."""

    def __init__(
        self,
        accepted: Accepted,
        keys: Keys,
        naming: Naming,
        *,
        reviewer: Reviewer | None,
        tier: int,
        attributes: Attributes,
        clock: Callable[[], int],
    ) -> None:
        self._accepted, self._keys, self._naming, self._reviewer = accepted, keys, naming, reviewer
        self._tier, self._attributes, self._clock = tier, attributes, clock

    async def attest(self, evidence: Evidence) -> Attested:
        try:
            claims = await self._claims(evidence.bearer)  # (1)
            pod = _pod(claims)
        except TokenError as exc:
            raise NotAttestedError(f"not a service-account token for us: {exc}") from exc
        if f"{pod.namespace}/{pod.service_account}" not in self._accepted.service_accounts:  # (2)
            raise NotAttestedError(
                f"service account `{pod.namespace[:64]}/{pod.service_account[:64]}` enrols no nodes here"
            )
        if self._reviewer is not None:
            await self._review(self._reviewer, evidence.bearer, pod)  # (3)
        node, site = self._naming.name(_values(pod))  # (4)
        return Attested(
            kind=KUBERNETES,
            node=node,
            site=site,
            tier=self._tier,
            attributes=self._attributes,
            once=_name(evidence.bearer),
            until=int(claims["exp"]),
        )

    async def _claims(self, bearer: str) -> Mapping[str, Any]:
        token = web_token.read(bearer)
        keys = await self._keys.keys(token.key_id)
        accepted = self._accepted
        return web_token.verify(
            token, keys, issuer=accepted.issuer, audience=accepted.audience, now=self._clock()
        )

    async def _review(self, reviewer: Reviewer, bearer: str, pod: Pod) -> None:
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": bearer, "audiences": [self._accepted.audience]},
        }
        raw = await reviewer.server.post(reviewer.origin + REVIEW, asked)
        try:
            status = json.loads(raw)["status"]
            authenticated, user = status.get("authenticated"), status.get("user", {})
            audiences, uids = list(status.get("audiences", [])), user.get("extra", {}).get(POD_UID)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise UnavailableError("the API server's review is malformed") from exc
        if authenticated is not True:
            raise NotAttestedError("the API server does not know the token: has its pod ended?")
        # An authenticator that knows no audiences leaves them out, and would accept a token for anybody.
        if self._accepted.audience not in audiences or user.get("username") != pod.user or uids != [pod.uid]:
            raise NotAttestedError("the API server says something else of the token than the token does")


def _name(bearer: str) -> str:
    """Of what was signed, without the signature: one of ECDSA has two forms, and whoever has one can make the other."""
    return hashlib.sha256(b"writ-kubernetes\n" + bearer.rpartition(".")[0].encode()).hexdigest()


def _pod(claims: Mapping[str, Any]) -> Pod:
    """TokenError unless the claims are those of a pod's token, and agree with each other."""
    said = claims.get("kubernetes.io")
    account, pod, node = (_object(said, name) for name in ("serviceaccount", "pod", "node"))
    found = Pod(
        namespace=_text(said, "namespace"),
        service_account=_text(account, "name"),
        name=_text(pod, "name"),
        uid=_text(pod, "uid"),
        machine=_text(node, "name") if node else "",
    )
    if claims.get("sub") != found.user:
        raise TokenError("`sub` and `kubernetes.io` do not name one service account")
    return found


def _object(said: Any, name: str) -> Mapping[str, Any]:
    found = said.get(name, {}) if isinstance(said, dict) else {}
    if not isinstance(found, dict):
        raise TokenError(f"`kubernetes.io` holds a malformed `{name}`")
    return found


def _text(said: Any, name: str) -> str:
    found = said.get(name) if isinstance(said, dict) else None
    if not isinstance(found, str) or not found:
        raise TokenError("token is not bound to a pod")
    return found


def _values(pod: Pod) -> dict[str, tuple[str, ...]]:
    machine = (pod.machine,) if pod.machine else ()
    return {"machine": machine, "pod": (pod.name,), "service_account": (pod.service_account,)}
