"""From settings to the store, the keys and the passphrase that they name: for the service, and for the ceremonies beside it."""

import os
from pathlib import Path

from controlplane.config import Config, DeviceConfig, StoreConfig
from controlplane.errors import UnavailableError
from controlplane.signer import kms
from controlplane.signer.device import DeviceSigner
from controlplane.signer.file import FileSigner
from controlplane.signer.pkcs11 import Pkcs11Signer
from controlplane.store.etcd.connection import Access
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.sealing import load_key_file
from controlplane.store.sqlite import SqliteStore


def open_signer(directory: Path, passphrase: bytes, device: DeviceConfig) -> FileSigner:
    """Keys in files, and those that a device holds in the device."""
    if device.pkcs11_module:
        pin = _read(device.pkcs11_pin_file, "keys.pkcs11_pin_file").decode().strip()
        token = Pkcs11Signer(device.pkcs11_module, device.pkcs11_token, pin)
        return DeviceSigner(directory, passphrase, token)
    if device.kms_file:
        return DeviceSigner(directory, passphrase, kms.load(device.kms_file))
    return FileSigner(directory, passphrase)


async def open_store(config: Config, writer: str) -> SqliteStore | EtcdStore:
    """The store of these settings. `writer` names this process among those that share it."""
    settings = config.store
    if settings.kind == "sqlite":
        return SqliteStore.open(config.state_dir / "writ.db")
    sealer = load_key_file(settings.kek_file)
    return await EtcdStore.open(access(settings), settings.prefix, sealer, writer, config.trust_domain)


async def create_etcd(config: Config) -> EtcdStore:
    """Begin a mesh in etcd; ExistsError when something is under its prefix."""
    settings = config.store
    sealer = load_key_file(settings.kek_file)
    return await EtcdStore.create(
        access(settings), settings.prefix, sealer, config.replica, config.trust_domain
    )


def access(settings: StoreConfig) -> Access:
    """How to reach etcd, files read."""
    password = _read(settings.password_file, "store.password_file").decode().strip()
    return Access(
        endpoints=settings.endpoints,
        ca=_read(settings.ca_file, "store.ca_file"),
        certificate=_read(settings.certificate_file, "store.certificate_file"),
        key=_read(settings.key_file, "store.key_file"),
        user=settings.user,
        password=password,
    )


def read_passphrase(config: Config) -> bytes:
    path = Path(os.environ.get("WRIT_KEY_PASSPHRASE_FILE") or config.passphrase_file)
    return _read(path, "keys.passphrase_file or WRIT_KEY_PASSPHRASE_FILE").strip()


def _read(path: Path | None, setting: str) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"cannot read `{path}`: {exc.strerror}", hint=f"set {setting}") from exc
