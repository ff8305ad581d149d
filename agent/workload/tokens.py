"""JWT-SVIDs for the workloads of this node: minted by the control plane, kept until half of their life.

And the check of tokens that others show: signature and claims (`certs.jwt_svid`), then the floor of the node they are from.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from agent.workload.errors import BadCallError
from certs import jwt_svid
from certs.bundle import TrustBundle
from certs.errors import TokenError
from certs.jwt_svid import AUDIENCE, MAX_AUDIENCES, JwtSvid
from certs.spiffe import NODE_SEGMENTS, SpiffeId

MAX_KEPT = 1000
CLAIMS = ("sub", "aud", "exp", "nbf", "iat", "jti")
Mint = Callable[[str, Sequence[str]], Awaitable[tuple[str, int]]]
"""Workload name and audiences -> token and when it ends."""


class Tokens:
    """A small cache before the control plane."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._kept: OrderedDict[tuple[str, int, tuple[str, ...]], tuple[str, float]] = OrderedDict()

    async def get(self, workload: str, epoch: int, audiences: tuple[str, ...]) -> str:
        """A token with at least half of its life before it."""
        key = (workload, epoch, audiences)
        kept = self._kept.get(key)
        if kept is not None and time.time() < kept[1]:
            self._kept.move_to_end(key)
            return kept[0]
        token, expires_at = await self._mint(workload, audiences)
        now = time.time()
        self._kept[key] = (token, now + (expires_at - now) / 2)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return token

    def forget(self) -> None:
        """After a change of who may what: nothing from before is handed out again."""
        self._kept.clear()


def audiences(given: Sequence[str]) -> tuple[str, ...]:
    """As asked for, or BadCallError."""
    found = tuple(dict.fromkeys(given))
    if not 1 <= len(found) <= MAX_AUDIENCES or not all(AUDIENCE.fullmatch(one) for one in found):
        raise BadCallError(f"audience must be 1 to {MAX_AUDIENCES} values of 1 to 512 printable characters")
    return found


def validate(
    token: str,
    audience: str,
    believed: Mapping[str, TrustBundle],
    *,
    ours: str,
    floors: Mapping[str, int | None],
    now: int,
) -> JwtSvid:
    """Who bears `token`; BadCallError for one that proves nobody, or somebody of our own who was revoked.

    Of another trust domain we hear no revocation, and pass on no claim but those of the standard: what else it says may mean
    something else here.
    """
    try:
        found = jwt_svid.verify(token, believed, audience, now)
    except TokenError as exc:
        raise BadCallError(str(exc)) from exc
    if found.spiffe_id.trust_domain != ours:
        return replace(found, claims={name: found.claims[name] for name in CLAIMS if name in found.claims})
    node = SpiffeId(found.spiffe_id.trust_domain, found.spiffe_id.path[:NODE_SEGMENTS])
    floor = floors.get(str(node), 1)
    if not found.spiffe_id.is_workload or floor is None or found.epoch < floor:
        raise BadCallError(f"`{found.spiffe_id}` is revoked, or no workload")
    return found
