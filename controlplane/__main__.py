"""`python -I -m controlplane [init …] --config FILE`: arguments, logs, and exit codes; the rest is `main` and `setup`."""

import os

# TLS 1.3 only: no TLS 1.2 suite of this name fits an ECDSA certificate. Must be set before grpc is loaded.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path

import structlog
import uvloop

from controlplane import config as settings
from controlplane import errors
from controlplane.services import context_file, setup
from controlplane.signer.file import FileSigner

EXITS: dict[type[errors.ControlPlaneError], int] = {
    errors.InvalidError: 2,
    errors.NotFoundError: 4,
    errors.ExistsError: 5,
    errors.UnavailableError: 6,
}


def main() -> int:
    arguments = _arguments()
    try:
        if arguments.command == "init":
            _init(arguments)
        else:
            config = settings.load(arguments.config)
            _logs(config.log_level)
            from controlplane import main as service  # delayed: `init` needs no gRPC

            uvloop.run(service.run(config))
    except errors.ControlPlaneError as exc:
        sys.stderr.write(f"error: {exc}\n" + (f"hint: {exc.hint}\n" if exc.hint else ""))
        return EXITS.get(type(exc), 1)
    except asyncio.CancelledError:
        return 0
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -I -m controlplane", description="The Writ control plane.")
    parser.add_argument("--config", type=Path, default=Path("/etc/writ/controlplane.toml"))
    init = parser.add_subparsers(dest="command").add_parser("init", help="make a new mesh")
    init.add_argument("--trust-domain", required=True)
    init.add_argument("--dir", type=Path, required=True)
    init.add_argument("--config", type=Path, required=True, dest="config")
    init.add_argument("--address", required=True)
    init.add_argument("--enrolment", required=True)
    init.add_argument("--operator", default="admin")
    init.add_argument("--context", required=True)
    init.add_argument("--out-context", type=Path, required=True)
    return parser.parse_args()


def _init(arguments: argparse.Namespace) -> None:
    named = os.environ.get("WRIT_KEY_PASSPHRASE_FILE")
    passphrase_file = Path(named) if named else arguments.dir / "passphrase"
    passphrase = setup.prepare_directory(arguments.dir, passphrase_file)
    now = int(time.time())
    made = setup.make_mesh(
        arguments.trust_domain, arguments.dir, FileSigner(arguments.dir / "keys", passphrase), now
    )
    operator = setup.make_operator(made, arguments.operator, now)
    context_file.write_settings(
        arguments.config,
        made.trust_domain,
        arguments.dir,
        passphrase_file,
        arguments.address,
        arguments.enrolment,
    )
    context_file.write_context(arguments.out_context, arguments.context, arguments.address, made, operator)


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
