"""What this node holds of the mesh's signatures: proof, for a control plane whose store was put back to an older state.

Read from disk when it is asked for: what is there was verified before it was kept.
"""

from pathlib import Path

from agent import enrol
from audit import tiles
from controlplane.api import files
from controlplane.api.gen import sync_pb2


def documents(state_dir: Path) -> sync_pb2.Held:
    """The newest heartbeat, and who may sign it."""
    kept = state_dir / "documents"
    delegation = files.read(kept / "delegation.json") or files.read(state_dir / enrol.DELEGATION)
    return sync_pb2.Held(heartbeat=files.read(kept / "heartbeat.json"), delegation=delegation)


def cosigned(state_dir: Path, size: int) -> bytes:
    """The checkpoint that was last cosigned, if it covers more than `size` entries."""
    kept = files.read(state_dir / "evidence" / tiles.COSIGNED) or b""
    lines = kept.split(b"\n", 2)
    return kept if len(lines) > 1 and lines[1].isdigit() and int(lines[1]) > size else b""
