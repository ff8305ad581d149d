"""PEM files that commands read and write: signing requests on their way to the root, certificates on their way back."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from controlplane.cli.errors import CliError, Exit

REQUEST, CERTIFICATE = "CERTIFICATE REQUEST", "CERTIFICATE"
MAX_BYTES = 1 << 20
LINE = 64


def write(path: Path, label: str, ders: Sequence[bytes]) -> None:
    """All of them, one block each; they are public."""
    blocks = []
    for der in ders:
        text = base64.b64encode(der).decode()
        lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
        blocks.append("\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"]))
    path.write_text("\n".join(blocks) + "\n")


def read(path: Path, label: str) -> list[bytes]:
    """DER of every block; CliError when there is none, or one that is no base64."""
    try:
        text = path.read_bytes()[:MAX_BYTES].decode()
        found = re.findall(f"-----BEGIN {label}-----\\s(.*?)-----END {label}-----", text, re.DOTALL)
        ders = [base64.b64decode("".join(block.split()), validate=True) for block in found]
    except OSError as exc:
        raise CliError(f"cannot read `{path}`: {exc.strerror}", code=Exit.USAGE) from exc
    except ValueError as exc:
        raise CliError(f"`{path}` is no PEM file", code=Exit.USAGE) from exc
    if not ders:
        raise CliError(f"`{path}` holds no {label}", code=Exit.USAGE)
    return ders
