"""`python -I -m controlplane [init|operator|join|admit|remove …] --config FILE`: arguments, logs, exit codes. The rest is elsewhere."""

import os

# TLS 1.3 only: no TLS 1.2 suite of this name fits an ECDSA certificate. Must be set before grpc is loaded.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import uvloop

from controlplane import config as settings
from controlplane import errors

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


def main() -> int:
    arguments = _arguments()
    try:
        if arguments.command in CEREMONIES:
            from controlplane import ceremonies  # delayed: the service needs none of it

            CEREMONIES[arguments.command](ceremonies, arguments)
        else:
            config = settings.load(arguments.config)
            _logs(config.log_level)
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
    init.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite")
    init.add_argument("--etcd-endpoint", action="append", default=[])
    for name in ETCD:
        init.add_argument(f"--etcd-{name.replace('_', '-')}", default="")
    _operator_arguments(commands)
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
    return parser.parse_args()


def _operator_arguments(commands: Any) -> None:
    operator = commands.add_parser("operator", help="make an administrator, with the keys of this machine")
    operator.add_argument("--config", type=Path, required=True)
    operator.add_argument("--name", required=True)
    operator.add_argument("--context", required=True)
    operator.add_argument("--out-context", type=Path, required=True)


def _logs(level: str) -> None:
    """JSON lines on stderr; never a key or a token."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(level.upper(), 20)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
