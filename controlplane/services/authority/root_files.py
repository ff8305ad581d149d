"""Changes of the root where its keys are: a file beside them, for whoever signs away from the store.

Which root signs there is what the last ceremony said; a control plane goes by the store.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from controlplane import model
from controlplane.api import files
from controlplane.authority_rows import RootChangeRow
from controlplane.errors import CorruptError

FILE = "root-changes.json"


def load(directory: Path) -> list[RootChangeRow]:
    """Oldest first."""
    try:
        return loaded((files.read(directory / FILE) or b"[]").decode())
    except UnicodeDecodeError as exc:
        raise CorruptError(f"`{directory / FILE}` is no text") from exc


def save(directory: Path, changes: Sequence[RootChangeRow]) -> None:
    files.write(directory / FILE, dumped(changes).encode())


def dumped(changes: Sequence[RootChangeRow]) -> str:
    return json.dumps([json.loads(model.dump(row)) for row in changes])


def loaded(text: str) -> list[RootChangeRow]:
    """CorruptError for what is none. Whether the changes hold is `standing`'s to say."""
    try:
        return [model.load(RootChangeRow, json.dumps(one).encode()) for one in json.loads(text)]
    except (ValueError, TypeError) as exc:
        raise CorruptError("changes of the root are malformed") from exc
