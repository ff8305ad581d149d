"""Which control plane a command talks to, and as whom: contexts in `~/.config/writ/config.toml`.

`writ init` writes the first one. WRIT_CONFIG names another file, WRIT_CONTEXT or `--context` another context.
Files only; nothing here opens a connection.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from controlplane.cli.errors import CliError, Exit

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One control plane: where it listens, whom to believe there, and what the operator shows: a certificate or a token."""

    name: str
    address: str  # host:port; of several control planes, with commas between
    trust_domain: str
    ca: Path  # PEM of the control-plane CA: a node's certificate can never pose as the server
    certificate: Path | None = None
    key: Path | None = None
    token: Path | None = None  # as `writ login` keeps it

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(one.strip() for one in self.address.split(","))


def config_path() -> Path:
    named = os.environ.get("WRIT_CONFIG")
    return Path(named) if named else Path.home() / ".config" / "writ" / "config.toml"


def load(name: str | None) -> Context:
    """Read the named, else the current, context."""
    path = config_path()
    document = _read(path)
    found = document.get("contexts", {})
    contexts: dict[str, object] = found if isinstance(found, dict) else {}
    chosen = str(name or os.environ.get("WRIT_CONTEXT") or document.get("current", ""))
    if chosen not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise CliError(
            f"no context `{chosen}` in `{path}`",
            code=Exit.USAGE,
            hint=f"known contexts: {known}; choose with --context",
        )
    return _context(chosen, contexts[chosen], path)


def _read(path: Path) -> dict[str, object]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        hint = "make a control plane with `writ init`, or set WRIT_CONFIG to its context file"
        raise CliError(f"no configuration at `{path}`", code=Exit.USAGE, hint=hint) from exc
    if len(raw) > MAX_BYTES:
        raise CliError(f"`{path}` is larger than {MAX_BYTES} bytes", code=Exit.USAGE)
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise CliError(f"`{path}` is not valid TOML: {exc}", code=Exit.USAGE) from exc


def _context(name: str, entry: object, path: Path) -> Context:
    shown = ("token",) if isinstance(entry, dict) and "token" in entry else ("certificate", "key")
    wanted = ("address", "trust_domain", "ca", *shown)
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in wanted):
        raise CliError(f"context `{name}` in `{path}` needs {', '.join(wanted)}", code=Exit.USAGE)
    files = {key: (path.parent / entry[key]).resolve() for key in ("ca", *shown)}
    return Context(name=name, address=entry["address"], trust_domain=entry["trust_domain"], **files)
