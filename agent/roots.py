"""The roots that this node believes, on disk: the oldest as it was pinned, and the changes that lead on from it.

What the changes prove is verified again at every start. A root that is believed no more does not come back: the pin moves.
"""

import base64
import json
from pathlib import Path

import structlog

from agent import identity
from controlplane.api import files
from policies import roots
from policies.errors import DocumentError
from policies.roots import Roots

log = structlog.get_logger()
ROOT, CHANGES = "root.der", "root-changes.json"


def load(directory: Path) -> Roots | None:
    """None for a node that never enrolled."""
    root = files.read(directory / ROOT)
    if root is None:
        return None
    known = roots.pinned(root)
    try:
        kept = json.loads(files.read(directory / CHANGES) or b"[]")
        chain = [base64.b64decode(text, validate=True) for text in kept]
        return roots.follow(known, chain, identity.trust_domain(root))
    except (DocumentError, ValueError, TypeError) as exc:
        log.warning("root_changes_on_disk_refused", reason=str(exc))  # the control plane tells them again
        return known


def keep(directory: Path, known: Roots) -> None:
    """Before anything is done by them. What was dropped meanwhile stays dropped."""
    held = load(directory)
    if held is not None and held.believed[0] in known.believed:
        known = known.since(held.believed[0])
    begin(directory, known)


def begin(directory: Path, known: Roots) -> None:
    """With these, whatever was known before: this node was enrolled anew."""
    chain = [base64.b64encode(change).decode() for change in known.changes]
    # The changes first: they lead nowhere without their root, and a pin that has moved needs them no more.
    files.write_all({directory / CHANGES: json.dumps(chain).encode(), directory / ROOT: known.believed[0]})
