"""Keeps account of calls: one record for what reads or is refused, two for what changes. Nothing is done unrecorded."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from controlplane.errors import ControlPlaneError, UnavailableError, WaitingError
from controlplane.rpc.caller import CALLER
from controlplane.services.admin.grants import Grant
from controlplane.services.evidence.recording import Recording
from policies.errors import DocumentError, PolicyError

NAMES = ("name", "key_id", "caller", "id", "path", "version", "generation")
"""Fields that name what a request is about, where it names no node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call as it is recorded."""

    id: str
    call: str
    target: str
    arguments: str
    approval: str = ""


def asked(call: str, request: Any, approval: str = "") -> Asked:
    return Asked(
        id=secrets.token_hex(8),
        call=call,
        target=target(request),
        arguments=hashlib.sha256(encoded(request)).hexdigest(),
        approval=approval,
    )


def encoded(request: Any) -> bytes:
    """The bytes of a request that are hashed, and kept."""
    return bytes(request.SerializeToString(deterministic=True))


class Account:
    """Writes to the evidence log of this control plane."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def refused(self, call: Asked, grant: Grant | None, exc: Exception) -> None:
        """What was not begun. Beyond a bound, strangers are only counted."""
        if grant is not None or not self._recording.counts_stranger():
            await self.keep(call, grant, outcome_of(exc), reason_of(exc))

    async def done(
        self, call: Asked, grant: Grant, work: Callable[[], Awaitable[Any]], *, changes: bool
    ) -> Any:
        """Do it as `grant`, recorded before and after; however it fails, that is recorded."""
        if changes:
            await self.keep(call, grant, "begun", lasting=False)
        before = CALLER.set(grant)
        try:
            reply = await work()
        except asyncio.CancelledError:
            why = "the caller left; it may have been done"
            await asyncio.shield(self.keep(call, grant, "cancelled", why, final=changes))
            raise
        except Exception as exc:
            await self.keep(call, grant, outcome_of(exc), reason_of(exc), final=changes)
            raise
        finally:
            CALLER.reset(before)
        try:
            await self.keep(call, grant, "ok", final=changes)
        except UnavailableError as exc:
            if not changes:
                raise
            raise UnavailableError(
                f"it was done, but that could not be recorded: {exc}", hint=exc.hint
            ) from exc
        return reply

    async def keep(
        self,
        call: Asked,
        grant: Grant | None,
        outcome: str,
        reason: str = "",
        *,
        lasting: bool = True,
        final: bool = False,
    ) -> None:
        who = {"operator": grant.name, "role": grant.role, "credential": grant.credential} if grant else {}
        about = {"target": call.target, "arguments": call.arguments, "approval": call.approval}
        await self._recording.keep(
            call_id=call.id,
            call=call.call,
            outcome=outcome,
            lasting=lasting,
            final=final,
            **{"reason": reason, **about, **who},
        )


def target(request: Any) -> str:
    """What a request names: a node, a site, an operator, a key, a version; empty for none."""
    about = getattr(request, "operator", request)
    node, site = getattr(about, "node", ""), getattr(about, "site", "")
    if node or site:
        named = getattr(about, "name", "")
        place = ".".join(part for part in (node, site) if part)
        return f"{named}@{place}" if named else place
    return next((str(value) for name in NAMES if (value := getattr(about, name, ""))), "")


def outcome_of(exc: Exception) -> str:
    """The kind of refusal, in the word of its class: `denied`, `conflict`, `invalid`, `waiting`."""
    if isinstance(exc, PolicyError | DocumentError):
        return "invalid"
    return (
        type(exc).__name__.removesuffix("Error").lower() if isinstance(exc, ControlPlaneError) else "failed"
    )


def reason_of(exc: Exception) -> str:
    """Our own errors in their words; of our bugs only the kind."""
    if isinstance(exc, WaitingError):
        return ""
    known = isinstance(exc, ControlPlaneError | PolicyError | DocumentError)
    return str(exc) if known else type(exc).__name__
