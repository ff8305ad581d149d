"""The device flow of `writ login` (RFC 8628), and the context that it fills.

The issuer is found by discovery and must say its own name. What it gives is shown to the control plane, which verifies it;
here only its end is read, to say it. Nothing of it is printed.
"""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.api import files, https
from controlplane.api.https import HttpsError
from controlplane.cli import context as contexts
from controlplane.cli import context_files, documents
from controlplane.cli.errors import CliError, Exit

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
NEEDED = ("issuer", "client_id", "address", "trust_domain")
INTERVAL_S, SLOWER_S, LONGEST_S = 5, 5, 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to sign in, and the context that will keep it. `ca` None: the one that the context has."""

    context: str
    entry: dict[str, str]
    ca: bytes | None

    @property
    def issuer(self) -> str:
        return self.entry["issuer"]

    @property
    def client_id(self) -> str:
        return self.entry["client_id"]

    @property
    def issuer_ca(self) -> Path | None:
        return Path(self.entry["issuer_ca"]) if self.entry.get("issuer_ca") else None


def place(context: str | None, given: dict[str, str], ca: Path | None) -> Place:
    """The context to sign in for: what it has, and what is given now. Nothing is written."""
    current, known = context_files.read(contexts.config_path())
    name = context or (f"{given['trust_domain']}-login" if "trust_domain" in given else current)
    entry = {**known.get(name, {}), **given, "token": f"{name}.token"}
    if ca is not None:
        entry["ca"] = f"{name}.ca.pem"
    if missing := [one for one in (*NEEDED, "ca") if not entry.get(one)]:
        hint = "the first time: --issuer, --client-id, --address, --trust-domain, --ca"
        raise CliError(f"context `{name}` does not say `{missing[0]}`", code=Exit.USAGE, hint=hint)
    if "certificate" in entry:
        raise CliError(
            f"context `{name}` shows a certificate", code=Exit.USAGE, hint="--context another name"
        )
    return Place(context=name, entry=entry, ca=documents.read_text(ca).encode() if ca else None)


def sign_in(at: Place, scope: str, say: Callable[[str], None]) -> int:
    """Until somebody has entered the code; when the token ends. The context is written once there is one."""
    try:
        found = _object(https.get(at.issuer.rstrip("/") + "/.well-known/openid-configuration", at.issuer_ca))
        if found.get("issuer") != at.issuer:
            raise CliError(f"`{at.issuer}` says it is another issuer", code=Exit.VERIFICATION)
        device = _asked(
            found, "device_authorization_endpoint", {"client_id": at.client_id, "scope": scope}, at
        )
        say(f"open {_text(device, 'verification_uri')} and enter {_text(device, 'user_code')}")
        token = _wait(at, found, device)
    except HttpsError as exc:
        raise CliError(str(exc), code=Exit.UNREACHABLE, hint="is the issuer up?") from exc
    until = ends(token)
    _keep(at, token)
    return until


def _keep(at: Place, token: str) -> None:
    path = contexts.config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if at.ca is not None:
        files.write(path.parent / at.entry["ca"], at.ca)
    files.write(path.parent / at.entry["token"], token.encode() + b"\n")
    context_files.change(path, at.context, at.entry)


def _wait(at: Place, found: dict[str, Any], device: dict[str, Any]) -> str:
    form = {"grant_type": GRANT, "device_code": _text(device, "device_code"), "client_id": at.client_id}
    pause, until = (
        _number(device, "interval", INTERVAL_S),
        time.monotonic() + _number(device, "expires_in", LONGEST_S),
    )
    while time.monotonic() < until:
        time.sleep(pause)
        answer = _asked(found, "token_endpoint", form, at, also=("authorization_pending", "slow_down"))
        match answer.get("error"):
            case None:
                return _text(answer, "id_token")
            case "slow_down":
                pause += SLOWER_S
    raise CliError("nobody entered the code in time", code=Exit.DENIED, hint="writ login")


def _asked(
    found: dict[str, Any], endpoint: str, form: dict[str, str], at: Place, also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The answer of an endpoint; an error that is not in `also` ends it."""
    _, body = https.post(_text(found, endpoint), form, at.issuer_ca)
    answer = _object(body)
    error = answer.get("error")
    if error is not None and error not in also:
        raise CliError(f"the issuer refuses: {str(error)[:64]}", code=Exit.DENIED, hint="writ login")
    return answer


def ends(token: str) -> int:
    """When a token ends, as it says itself."""
    try:
        part = token.split(".")[1]
        return int(_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])
    except (IndexError, KeyError, ValueError, TypeError) as exc:
        raise CliError("the issuer gave no ID token", code=Exit.VERIFICATION) from exc


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise HttpsError("the issuer does not answer in JSON") from exc
    if not isinstance(found, dict):
        raise HttpsError("the issuer does not answer with an object")
    return found


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= https.MAX_BYTES:
        raise HttpsError(f"the issuer does not say `{name}`")
    return value


def _number(found: dict[str, Any], name: str, default: int) -> int:
    value = found.get(name, default)
    return value if type(value) is int and 0 <= value <= LONGEST_S else default
