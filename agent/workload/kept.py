"""Workload keys and certificates on disk (0600, in the agent's directory): an agent that starts again while the control plane is
away serves what it had. What is read is verified by the caller like what comes from the network.
"""

import base64
import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agent.workload.entitled import Svid
from certs import keys
from certs.errors import CertError
from controlplane.api import files

SUFFIX = ".json"


def save(directory: Path, name: str, svid: Svid) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    chain = [base64.b64encode(der).decode() for der in svid.chain]
    document = {"key": keys.dump_private(svid.key, None).decode(), "chain": chain}
    files.write(directory / f"{name}{SUFFIX}", json.dumps(document).encode())


def load(directory: Path, name: str) -> tuple[ec.EllipticCurvePrivateKey, tuple[bytes, ...]] | None:
    """Key and chain as they were kept; None when there are none that can be read."""
    raw = files.read(directory / f"{name}{SUFFIX}")
    if raw is None:
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, CertError):
        document = json.loads(raw)
        key = keys.load_private(document["key"].encode(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key, tuple(base64.b64decode(text, validate=True) for text in document["chain"])
    return None


def forget(directory: Path, keep: Iterable[str]) -> None:
    """Drop the keys of whoever is registered no more."""
    kept = {f"{name}{SUFFIX}" for name in keep}
    for path in directory.glob(f"*{SUFFIX}"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
