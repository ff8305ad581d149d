"""The files `writ init` leaves: settings of the control plane, and the operator's context for the CLI."""

import os
import tomllib
from pathlib import Path

from controlplane.errors import InvalidError
from controlplane.services.authorities import Authorities
from controlplane.services.setup import Operator, pem


def write_settings(
    path: Path, trust_domain: str, state_dir: Path, passphrase_file: Path, address: str, enrolment: str
) -> None:
    """Settings with every path spelled out; an existing file is kept."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f'trust_domain = "{trust_domain}"',
        f'state_dir = "{state_dir.resolve()}"',
        "",
        "[server]",
        f'listen = "{address}"',
        f'enrolment_listen = "{enrolment}"',
        "",
        "[keys]",
        "# Whoever copies this file and the key directory has the keys: keep them on different volumes.",
        f'passphrase_file = "{passphrase_file.resolve()}"',
    ]
    path.write_text("\n".join(lines) + "\n")


def write_context(path: Path, name: str, address: str, made: Authorities, operator: Operator) -> None:
    """Add a context, make it the current one, and keep the others."""
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {
        "ca": pem(made.control_plane_ca.certificate),
        "certificate": operator.certificate,
        "key": operator.key,
    }
    entry = {"address": address, "trust_domain": made.trust_domain}
    for kind, content in files.items():
        target = directory / f"{name}.{kind}.pem"
        _write_private(target, content)
        entry[kind] = target.name
    contexts = _contexts(path)
    contexts[name] = entry
    lines = [f'current = "{name}"']
    for context, fields in contexts.items():
        lines += ["", f'[contexts."{context}"]', *(f'{key} = "{value}"' for key, value in fields.items())]
    _write_private(path, ("\n".join(lines) + "\n").encode())


def _contexts(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        return dict(tomllib.loads(path.read_text()).get("contexts", {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidError(f"`{path}` is not valid TOML: {exc}", hint="mend or move it") from exc


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
