"""The files `writ init` leaves: settings of the control plane, and the operator's context for the CLI."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.api import files
from controlplane.config import DeviceConfig
from controlplane.errors import InvalidError
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh.setup import Operator, pem


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOptions:
    """What `writ init --store etcd` was told; empty texts are left to the defaults."""

    endpoints: tuple[str, ...]
    prefix: str = ""
    kek_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSettings:
    """What a settings file says of a new control plane."""

    trust_domain: str
    state_dir: Path
    passphrase_file: Path
    address: str
    enrolment: str
    replica: str
    etcd: EtcdOptions | None = None
    device: DeviceConfig = field(default_factory=DeviceConfig)


def write_settings(path: Path, new: NewSettings) -> None:
    """Settings with every path spelled out; an existing file is kept."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f'trust_domain = "{new.trust_domain}"',
        f'state_dir = "{new.state_dir.resolve()}"',
        "",
        "[server]",
        f'listen = "{new.address}"',
        f'enrolment_listen = "{new.enrolment}"',
        "",
        "[keys]",
        "# Whoever copies this file and the key directory has the keys: keep them on different volumes.",
        f'passphrase_file = "{new.passphrase_file.resolve()}"',
        *_device_lines(new.device),
        "",
        "[replica]",
        f'name = "{new.replica}"',
    ]
    if new.etcd is not None:
        lines += _etcd_lines(new.etcd, new.state_dir)
    path.write_text("\n".join(lines) + "\n")


def _device_lines(device: DeviceConfig) -> list[str]:
    fields = {name: getattr(device, name) for name in DeviceConfig.__dataclass_fields__}
    paths = {name: value.resolve() if isinstance(value, Path) else value for name, value in fields.items()}
    return [f'{name} = "{value}"' for name, value in paths.items() if value]


def _etcd_lines(etcd: EtcdOptions, state_dir: Path) -> list[str]:
    endpoints = ", ".join(f'"{one}"' for one in etcd.endpoints)
    kek = Path(etcd.kek_file) if etcd.kek_file else state_dir / "kek"
    lines = ["", "[store]", 'kind = "etcd"', f"endpoints = [{endpoints}]"]
    lines += [
        "# Encrypts what etcd holds. Without it the store cannot be read: keep a copy, and never in etcd."
    ]
    lines += [f'kek_file = "{kek.resolve()}"']
    for name in ("ca_file", "certificate_file", "key_file", "password_file"):
        if value := getattr(etcd, name):
            lines.append(f'{name} = "{Path(value).resolve()}"')
    return lines + [f'{name} = "{value}"' for name in ("prefix", "user") if (value := getattr(etcd, name))]


def write_context(path: Path, name: str, address: str, made: Authorities, operator: Operator) -> None:
    """Add a context, make it the current one, and keep the others."""
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = {
        "ca": pem(made.control_plane_ca.certificate),
        "certificate": operator.certificate,
        "key": operator.key,
    }
    entry = {"address": address, "trust_domain": made.trust_domain}
    for kind, content in parts.items():
        target = directory / f"{name}.{kind}.pem"
        files.write(target, content)
        entry[kind] = target.name
    contexts = _contexts(path)
    contexts[name] = entry
    _write_contexts(path, contexts, name)


def _write_contexts(path: Path, contexts: dict[str, dict[str, str]], current: str) -> None:
    lines = [f'current = "{current}"']
    for context, fields in contexts.items():
        lines += ["", f'[contexts."{context}"]', *(f'{key} = "{value}"' for key, value in fields.items())]
    files.write(path, ("\n".join(lines) + "\n").encode())


def add_replica(path: Path, name: str, ca: bytes, address: str) -> None:
    """Let a context believe one more replica, and know where it is."""
    contexts = _contexts(path)
    if name not in contexts:
        raise InvalidError(f"there is no context `{name}` in `{path}`")
    entry = contexts[name]
    bundle = path.parent / entry["ca"]
    if ca not in bundle.read_bytes():
        files.write(bundle, bundle.read_bytes() + ca)
    known = entry["address"].split(",")
    if address not in known:
        entry["address"] = ",".join([*known, address])
    current = str(tomllib.loads(path.read_text()).get("current", name))
    _write_contexts(path, contexts, current)


def _contexts(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        return dict(tomllib.loads(path.read_text()).get("contexts", {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidError(f"`{path}` is not valid TOML: {exc}", hint="mend or move it") from exc
