"""`python -I -m controlplane [init|operator|join|admit|remove …] --config FILE`: arguments, logs, exit codes. The rest is elsewhere."""

import os

# TLS 1.3 only: no TLS 1.2 suite of this name fits an ECDSA certificate. Must be set before grpc is loaded.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from controlplane import config as settings
from controlplane import errors
from controlplane.api import json_lines

EXITS: dict[type[errors.ControlPlaneError], int] = {
    errors.InvalidError: 2,
    errors.NotFoundError: 4,
    errors.ExistsError: 5,
    errors.UnavailableError: 6,
}
ETCD = ("prefix", "kek_file", "ca_file", "certificate_file", "key_file", "user", "password_file")
CEREMONIES: dict[str, Callable[[Any, argparse.Namespace], None]] = {
    "init": lambda ceremonies, arguments: ceremonies.init(arguments),
    "operator": lambda ceremonies, arguments: ceremonies.operator(arguments),
    "join": lambda ceremonies, arguments: ceremonies.join(arguments),
    "admit": lambda ceremonies, arguments: ceremonies.admit(arguments),
    "remove": lambda ceremonies, arguments: ceremonies.remove(arguments),
}
ROOT_CEREMONIES: dict[str, Callable[[Any, argparse.Namespace], None]] = {
    "root-sign": lambda ceremonies, arguments: ceremonies.sign(arguments),
    "root-renew": lambda ceremonies, arguments: ceremonies.renew(arguments),
    "root-prepare": lambda ceremonies, arguments: ceremonies.prepare(arguments),
    "root-delegate": lambda ceremonies, arguments: ceremonies.delegate(arguments),
    "root-backup": lambda ceremonies, arguments: ceremonies.backup(arguments),
    "root-restore": lambda ceremonies, arguments: ceremonies.restore(arguments),
}
BACKUPS: dict[str, Callable[[Any, argparse.Namespace], None]] = {
    "backup-create": lambda backups, arguments: backups.create(arguments),
    "backup-restore": lambda backups, arguments: backups.restore(arguments),
    "new-epoch": lambda backups, arguments: backups.new_epoch(arguments),
}


def main() -> int:
    arguments = _arguments()
    try:
        if arguments.command in CEREMONIES:
            from controlplane import ceremonies  # delayed: the service needs none of it

            CEREMONIES[arguments.command](ceremonies, arguments)
        elif arguments.command in ROOT_CEREMONIES:
            from controlplane import root_ceremonies  # delayed, as above

            ROOT_CEREMONIES[arguments.command](root_ceremonies, arguments)
        elif arguments.command in BACKUPS:
            from controlplane import backups  # delayed: as above

            BACKUPS[arguments.command](backups, arguments)
        else:
            config = settings.load(arguments.config)
            json_lines.write(config.log_level)
            from controlplane import footprint

            footprint.settle()
            from controlplane import main as service  # delayed: `init` needs no server

            uvloop.run(service.run(config))
    except errors.ControlPlaneError as exc:
        sys.stderr.write(f"error: {exc}\n" + (f"hint: {exc.hint}\n" if exc.hint else ""))
        return next((code for kind, code in EXITS.items() if isinstance(exc, kind)), 1)
    except asyncio.CancelledError:
        return 0
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -I -m controlplane", description="The Writ control plane.")
    parser.add_argument("--config", type=Path, default=Path("/etc/writ/controlplane.toml"))
    commands = parser.add_subparsers(dest="command")
    _init_arguments(commands)
    _operator_arguments(commands)
    _replica_arguments(commands)
    _root_arguments(commands)
    _backup_arguments(commands)
    return parser.parse_args()


def _init_arguments(commands: Any) -> None:
    init = commands.add_parser("init", help="make a new mesh")
    init.add_argument("--trust-domain", required=True)
    init.add_argument("--dir", type=Path, required=True)
    init.add_argument("--config", type=Path, required=True)
    init.add_argument("--address", required=True)
    init.add_argument("--enrolment", required=True)
    init.add_argument("--operator", default="admin")
    init.add_argument("--context", required=True)
    init.add_argument("--out-context", type=Path, required=True)
    init.add_argument("--replica", default="replica-1")
    init.add_argument("--post-quantum", action="store_true")
    init.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite")
    init.add_argument("--etcd-endpoint", action="append", default=[])
    init.add_argument("--pkcs11-module", type=Path)
    init.add_argument("--pkcs11-token", default="")
    init.add_argument("--pkcs11-pin-file", type=Path)
    init.add_argument("--kms-file", type=Path)
    for name in ETCD:
        init.add_argument(f"--etcd-{name.replace('_', '-')}", default="")


def _replica_arguments(commands: Any) -> None:
    join = commands.add_parser("join", help="become a replica of a mesh that is there")
    join.add_argument("--config", type=Path, required=True)
    join.add_argument("--root", type=Path, help="directory that holds the root: all in one step")
    join.add_argument("--root-passphrase-file", type=Path)
    join.add_argument("--request", type=Path, help="write what the root's holder is to sign")
    join.add_argument("--grant", type=Path, help="read what the root's holder signed")
    join.add_argument("--out-context", type=Path)
    join.add_argument("--context", default="")
    admit = commands.add_parser("admit", help="sign the request of a new replica")
    admit.add_argument("--root", type=Path, required=True)
    admit.add_argument("--root-passphrase-file", type=Path)
    admit.add_argument("--request", type=Path, required=True)
    admit.add_argument("--grant", type=Path, required=True)
    remove = commands.add_parser("remove", help="take a replica's CAs and document key out of the mesh")
    remove.add_argument("--config", type=Path, required=True)
    remove.add_argument("--root", type=Path, required=True)
    remove.add_argument("--root-passphrase-file", type=Path)
    remove.add_argument("--replica", required=True)


def _root_arguments(commands: Any) -> None:
    sign = commands.add_parser("root-sign", help="sign the CAs that replicas request")
    sign.add_argument("--csr", type=Path, required=True)
    sign.add_argument("--certificate", type=Path, required=True)
    sign.add_argument("--days", type=int, default=0)
    backup = commands.add_parser("root-backup", help="seal the root into a file")
    backup.add_argument("--out", type=Path, required=True)
    backup.add_argument("--shares", type=int, default=0)
    backup.add_argument("--threshold", type=int, default=0)
    backup.add_argument("--remove", action="store_true")
    restore = commands.add_parser("root-restore", help="take the root out of a backup")
    restore.add_argument("--backup", type=Path, required=True)
    restore.add_argument("--share", type=Path, action="append")
    renew = commands.add_parser("root-renew", help="sign the delegation and the list of revoked CAs again")
    renew.add_argument("--request", type=Path, required=True)
    renew.add_argument("--answer", type=Path, required=True)
    renew.add_argument("--crl-days", type=int, default=180)
    prepare = commands.add_parser("root-prepare", help="make the next root")
    delegate = commands.add_parser("root-delegate", help="let the next root sign the delegation")
    delegate.add_argument("--request", type=Path, required=True)
    for command in (prepare, delegate):
        command.add_argument("--out", type=Path, required=True)
    for command in (sign, renew, backup, restore, prepare, delegate):
        command.add_argument("--root", type=Path, required=True)
        command.add_argument("--root-passphrase-file", type=Path)
    for command in (backup, restore):
        command.add_argument("--passphrase-file", type=Path)


def _backup_arguments(commands: Any) -> None:
    create = commands.add_parser("backup-create", help="every row of the store into a file")
    create.add_argument("--config", type=Path, required=True)
    create.add_argument("--out", type=Path, required=True)
    restore = commands.add_parser("backup-restore", help="a backup into an empty store")
    restore.add_argument("--file", type=Path, required=True)
    restore.add_argument("--new-epoch", action="store_true")
    for one in (restore, commands.add_parser("new-epoch", help="go on from an older state")):
        one.add_argument("--config", type=Path, required=True)
        one.add_argument("--agent", type=Path, action="append", default=[])
        one.add_argument("--without-agents", action="store_true")


def _operator_arguments(commands: Any) -> None:
    operator = commands.add_parser("operator", help="make an administrator, with the keys of this machine")
    operator.add_argument("--config", type=Path, required=True)
    operator.add_argument("--name", required=True)
    operator.add_argument("--context", required=True)
    operator.add_argument("--out-context", type=Path, required=True)


if __name__ == "__main__":
    sys.exit(main())
