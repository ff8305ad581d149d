"""Writing contexts: files of mode 0600 beside the configuration, which names them once they are whole.

A context's key and certificate are changed together: the new pair gets names of its own, then the configuration is replaced
in one step, then the old pair goes.
"""

import json
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

from controlplane.api import files
from controlplane.cli.errors import CliError, Exit

Entry = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What an operator shows, and whom he believes. PEM."""

    ca: bytes
    certificate: bytes
    key: bytes


def save(path: Path, name: str, entry: Entry, material: Material, *, make_current: bool) -> None:
    """Add or replace a context of `path`; the others are kept."""
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    current, contexts = read(path)
    before = contexts.get(name, {})
    mark = secrets.token_hex(4)
    parts = {"ca": material.ca, "certificate": material.certificate, "key": material.key}
    named = {kind: f"{name}.{mark}.{kind}.pem" for kind in parts}
    files.write_all({directory / named[kind]: content for kind, content in parts.items()})
    contexts[name] = {**before, **entry, **named}
    _write(path, contexts, name if make_current or not current else current)
    for kind in parts:
        if kind in before:
            (directory / before[kind]).unlink(missing_ok=True)


def change(path: Path, name: str, entry: Entry) -> None:
    """Set fields of a context, which is made if it is not there, and is the current one afterwards."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _, contexts = read(path)
    contexts[name] = {**contexts.get(name, {}), **entry}
    _write(path, contexts, name)


def read(path: Path) -> tuple[str, dict[str, Entry]]:
    """(current context, all of them)."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return "", {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise CliError(f"`{path}` is not valid TOML: {exc}", code=Exit.USAGE, hint="mend or move it") from exc
    return str(document.get("current", "")), dict(document.get("contexts", {}))


def _write(path: Path, contexts: dict[str, Entry], current: str) -> None:
    lines = [f"current = {json.dumps(current)}"]  # TOML's basic strings are JSON's, for what is printable
    for context, fields in contexts.items():
        lines += ["", f"[contexts.{json.dumps(context)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    files.write(path, ("\n".join(lines) + "\n").encode())
