"""`python -I -m agent --config FILE`: arguments, logs and exit codes; the rest is `main`."""

import os
import sys

# structlog would load rich and pygments, 4 MiB, for a terminal that an agent does not have.
sys.modules["rich"] = None  # type: ignore[assignment]
# TLS 1.3 only: no TLS 1.2 suite of this name fits an ECDSA certificate. Must be set before grpc is loaded.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import argparse
import asyncio
from pathlib import Path

import uvloop

from agent import config as settings
from agent import main as service
from agent.errors import AgentError, ConfigError
from controlplane.api import json_lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -I -m agent", description="The Writ agent.")
    parser.add_argument("--config", type=Path, default=Path("/etc/writ/agent.toml"))
    arguments = parser.parse_args()
    try:
        config = settings.load(arguments.config)
        json_lines.write(config.log_level)
        uvloop.run(service.run(config))
    except AgentError as exc:
        sys.stderr.write(f"error: {exc}\n" + (f"hint: {exc.hint}\n" if exc.hint else ""))
        return 2 if isinstance(exc, ConfigError) else 1
    except asyncio.CancelledError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
