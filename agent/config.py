"""Settings of the agent: TOML, then WRIT_<SECTION>__<KEY>, checked once, frozen. Standard library only: the agent is small."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.attest import Source
from agent.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_SOCKET = 107
"""Bytes in the path of a Unix socket, by unix(7)."""
SOCKET = Path("envoy/admin.sock")
"""Of those below `state_dir`, the one with the longest path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the agent runs with."""

    state_dir: Path
    control_planes: tuple[str, ...]  # host:port of the API of each replica; any will do
    token_file: Path | None
    root_sha256: str  # whom a node without a token believes at first, hex
    enrolment: tuple[str, ...]  # host:port where such a node enrols
    attest: Source  # what it shows there
    ingress_listen: str
    ingress_advertise: str  # how peers reach it; empty: what was bound
    egress_listen: str
    envoy_path: Path | None
    envoy_concurrency: int
    max_body_bytes: int
    max_stream_s: int
    workload_socket: Path | None  # where processes of this node ask for identities; None: nowhere
    lease_max_s: int  # act no longer on a heartbeat than this, whatever the mesh allows; 0: as the mesh says
    metrics_listen: str  # host:port of /metrics, /live, /ready; empty: none
    log_level: str


FIELDS: dict[str, dict[str, tuple[type, Any]]] = {
    "": {"state_dir": (str, "/var/lib/writ/agent"), "control_planes": (list, [])},
    "control_plane": {"address": (str, "")},
    "join": {"token_file": (str, ""), "root_sha256": (str, ""), "enrolment": (list, [])},
    "attest": {
        "kubernetes_token_file": (str, ""),
        "certificate_file": (str, ""),
        "key_file": (str, ""),
    },
    "ingress": {"listen": (str, "0.0.0.0:7443"), "advertise": (str, "")},
    "egress": {"listen": (str, "127.0.0.1:7080")},
    "envoy": {
        "path": (str, ""),
        "concurrency": (int, 1),
        "max_body_bytes": (int, 4 << 20),
        "max_stream_s": (int, 3600),
    },
    "workload": {"socket": (str, "/run/writ/workload.sock")},
    "lease": {"max_s": (int, 0)},
    "metrics": {"listen": (str, "")},
    "log": {"level": (str, "info")},
}
"""Section -> key -> (type, default)."""


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """ConfigError names file and key."""
    try:
        raw = path.read_bytes()
        document = tomllib.loads(raw[:MAX_BYTES].decode())
    except FileNotFoundError as exc:
        raise ConfigError(f"there are no settings at `{path}`", hint="give --config") from exc
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"`{path}` cannot be read: {exc}") from exc
    found = _values(document, path)
    _override(found, environment)
    if not _addresses(found):
        hint = 'address = "host:8443", or control_planes = ["host-1:8443", "host-2:8443"]'
        raise ConfigError(f"`{path}`: `control_plane.address` is missing", hint=hint)
    return _frozen(found, environment)


def _values(document: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    found = {
        section: {key: default for key, (_, default) in keys.items()} for section, keys in FIELDS.items()
    }
    for name, value in document.items():
        section, entries = (name, value) if isinstance(value, dict) else ("", {name: value})
        for key, given in entries.items():
            where = f"{section}.{key}".lstrip(".")
            if key not in FIELDS.get(section, {}):
                raise ConfigError(f"`{path}`: unknown key `{where}`")
            if type(given) is not FIELDS[section][key][0]:
                raise ConfigError(f"`{path}`: `{where}` must be of type {FIELDS[section][key][0].__name__}")
            found[section][key] = given
    return found


def _override(found: dict[str, dict[str, Any]], environment: Mapping[str, str]) -> None:
    for section, keys in FIELDS.items():
        for key, (kind, _) in keys.items():
            name = "WRIT_" + f"{section}__{key}".lstrip("_").upper()
            if name in environment:
                try:
                    given = environment[name]
                    found[section][key] = given.split(",") if kind is list else kind(given)
                except ValueError as exc:
                    raise ConfigError(f"`{name}` must be of type {kind.__name__}") from exc


def _addresses(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The single form and the list together, each address once."""
    several, single = found[""]["control_planes"], found["control_plane"]["address"]
    if not all(isinstance(one, str) and one for one in several):
        raise ConfigError("`control_planes` must be a list of host:port")
    return tuple(dict.fromkeys([*([single] if single else []), *several]))


def _frozen(found: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> Config:
    envoy, join = found["envoy"], found["join"]
    state_dir, workload_socket = Path(found[""]["state_dir"]), found["workload"]["socket"]
    _short("state_dir", state_dir / SOCKET)
    _short("workload.socket", Path(workload_socket))
    token = environment.get("WRIT_JOIN_TOKEN_FILE") or join["token_file"]
    return Config(
        state_dir=state_dir,
        control_planes=_addresses(found),
        token_file=Path(token) if token else None,
        root_sha256=join["root_sha256"],
        enrolment=tuple(join["enrolment"]),
        attest=_source(found["attest"], join),
        ingress_listen=found["ingress"]["listen"],
        ingress_advertise=found["ingress"]["advertise"],
        egress_listen=found["egress"]["listen"],
        envoy_path=Path(envoy["path"]) if envoy["path"] else None,
        envoy_concurrency=envoy["concurrency"],
        max_body_bytes=envoy["max_body_bytes"],
        max_stream_s=envoy["max_stream_s"],
        workload_socket=Path(workload_socket) if workload_socket else None,
        lease_max_s=found["lease"]["max_s"],
        metrics_listen=found["metrics"]["listen"],
        log_level=found["log"]["level"],
    )


def _short(key: str, path: Path) -> None:
    if (size := len(os.fsencode(path))) > MAX_SOCKET:
        said = f"`{key}` is too long: the socket `{path}` has {size} bytes in its path, at most {MAX_SOCKET} work"
        raise ConfigError(said, hint="use a directory nearer to the root, such as /var/lib/writ/agent")


def _source(given: Mapping[str, Any], join: Mapping[str, Any]) -> Source:
    """What proves where we are. Without a token nothing else says whom to believe, and where."""
    source = Source(**{name: Path(path) for name, path in given.items() if path})
    if not all(isinstance(one, str) and one for one in join["enrolment"]):
        raise ConfigError("`join.enrolment` must be a list of host:port")
    if join["root_sha256"] and not re.fullmatch(r"[0-9a-f]{64}", join["root_sha256"]):
        raise ConfigError("`join.root_sha256` must be 64 hex digits", hint="writ status -o json: root_sha256")
    if source and not (join["root_sha256"] and join["enrolment"]):
        raise ConfigError(
            "`attest` needs `join.root_sha256` and `join.enrolment`: whom to believe, and where to enrol",
            hint="writ status -o json: root_sha256",
        )
    return source
