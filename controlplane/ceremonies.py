"""`init`, `operator`, `join`, `admit`, `remove`: what an operator does beside a control plane, each in one run of its own."""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from certs import document_keys
from controlplane import config as settings
from controlplane import opening
from controlplane.config import Config
from controlplane.errors import ExistsError, InvalidError, UnavailableError
from controlplane.services.admin import operators
from controlplane.services.authority import authorities
from controlplane.services.mesh import context_file, setup
from controlplane.services.mesh import join as joining
from controlplane.services.mesh.context_file import EtcdOptions, NewSettings
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store
from controlplane.store.sealing import new_key_file

T = TypeVar("T")
DEVICE = ("pkcs11_module", "pkcs11_token", "pkcs11_pin_file", "kms_file")


def init(arguments: argparse.Namespace) -> None:
    """A new mesh. With etcd, that it is there, ours and empty is found out before any key is made."""
    named = os.environ.get("WRIT_KEY_PASSPHRASE_FILE")
    passphrase_file = Path(named) if named else arguments.dir / "passphrase"
    setup.check_free(arguments.dir)
    etcd = _etcd_options(arguments) if arguments.store == "etcd" else None
    new = NewSettings(
        trust_domain=arguments.trust_domain,
        state_dir=arguments.dir,
        passphrase_file=passphrase_file,
        address=arguments.address,
        enrolment=arguments.enrolment,
        replica=arguments.replica,
        etcd=etcd,
        device=settings.device({name: getattr(arguments, name) for name in DEVICE}),
    )
    if etcd is None:
        _make(arguments, new)
        return
    if arguments.config.exists():
        raise ExistsError(f"`{arguments.config}` exists", hint="give --config another file, or move it")
    context_file.write_settings(arguments.config, new)
    try:
        asyncio.run(_init_in_etcd(arguments, new))
    except BaseException:
        arguments.config.unlink()
        raise


async def _init_in_etcd(arguments: argparse.Namespace, new: NewSettings) -> None:
    config = settings.load(arguments.config)
    fresh = not arguments.etcd_kek_file and new_key_file(config.store.kek_file)
    try:
        store = await opening.create_etcd(config)
    except BaseException:
        if fresh:
            config.store.kek_file.unlink()
        raise
    try:
        _make(arguments, new)
    except BaseException:
        await store.discard()
        raise
    finally:
        await store.close()


def _make(arguments: argparse.Namespace, new: NewSettings) -> None:
    passphrase = setup.prepare_directory(new.state_dir, new.passphrase_file)
    now = int(time.time())
    signer = opening.open_signer(new.state_dir / "keys", passphrase, new.device)
    algorithms = document_keys.ALGORITHMS if arguments.post_quantum else (document_keys.ED25519,)
    made = setup.make_mesh(new.trust_domain, new.state_dir, signer, now, new.replica, algorithms)
    operator = operators.make_first(made, new.state_dir, arguments.operator, now)
    context_file.write_settings(arguments.config, new)
    context_file.write_context(arguments.out_context, arguments.context, new.address, made, operator)


def _etcd_options(arguments: argparse.Namespace) -> EtcdOptions:
    if not arguments.etcd_endpoint:
        raise InvalidError("etcd needs at least one endpoint", hint="--etcd-endpoint host:2379")
    names = ("prefix", "kek_file", "ca_file", "certificate_file", "key_file", "user", "password_file")
    return EtcdOptions(
        endpoints=tuple(arguments.etcd_endpoint),
        **{name: getattr(arguments, f"etcd_{name}") for name in names},
    )


def operator(arguments: argparse.Namespace) -> None:
    """An administrator for whoever holds this machine and its keys: the way back in when every certificate has ended."""
    config = settings.load(arguments.config)
    signer = FileSigner(config.state_dir / "keys", opening.read_passphrase(config))
    made = authorities.load(config.state_dir, signer)
    fresh = operators.make_first(made, config.state_dir, arguments.name, int(time.time()))
    address = config.replica_address or config.listen
    context_file.write_context(arguments.out_context, arguments.context, address, made, fresh)


def join(arguments: argparse.Namespace) -> None:
    """Become a replica: with the root at hand in one step, else `--request`, then `--grant`."""
    config = settings.load(arguments.config)
    if config.store.kind != "etcd":
        raise InvalidError("one SQLite file serves one replica", hint='store.kind = "etcd"')
    passphrase = setup.prepare_directory(config.state_dir, config.passphrase_file)
    signer = opening.open_signer(config.state_dir / "keys", passphrase, config.device)
    asked = _with_store(config, lambda store: _request(store, config, signer))
    if arguments.request:
        arguments.request.write_text(joining.dumped(asked))
        return
    if arguments.grant:
        given = joining.load_grant(_text(arguments.grant))
    elif arguments.root:
        given = joining.admit(asked, arguments.root, _root_signer(arguments), int(time.time()))
    else:
        raise InvalidError("who signs?", hint="--root DIR, or --request FILE and then --grant FILE")
    made = joining.install(given, config.state_dir, signer, asked)
    if arguments.out_context:
        ca = setup.pem(made.control_plane_ca.certificate)
        context_file.add_replica(arguments.out_context, arguments.context, ca, config.listen)


async def _request(store: Store, config: Config, signer: FileSigner) -> joining.Request:
    return await joining.request(store, signer, config.trust_domain, config.replica)


def admit(arguments: argparse.Namespace) -> None:
    """Where the root is: sign a request."""
    asked = joining.load_request(_text(arguments.request))
    given = joining.admit(asked, arguments.root, _root_signer(arguments), int(time.time()))
    arguments.grant.write_text(joining.dumped(given))


def remove(arguments: argparse.Namespace) -> None:
    """Where the root is, with a way to the store: take a replica out."""
    config = settings.load(arguments.config)
    signer = _root_signer(arguments)
    now = int(time.time())
    _with_store(config, lambda store: joining.remove(store, arguments.root, signer, arguments.replica, now))


def _with_store(config: Config, use: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = await opening.open_store(config, f"{config.replica}.ceremony")
        try:
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _root_signer(arguments: argparse.Namespace) -> FileSigner:
    path = arguments.root_passphrase_file or arguments.root / "passphrase"
    signer = FileSigner(arguments.root / "keys", _text(path).strip().encode())
    authorities.load(arguments.root, signer)
    return signer


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise UnavailableError(f"cannot read `{path}`: {exc}") from exc
