"""`writ audit fetch`: a control plane's log, copied file by file. Full tiles never change, so what is here is not asked for again.

A checkpoint is kept last: what it covers is here by then. Partial tiles are replaced while we read (reading is recorded, too):
then we begin again with the newest checkpoint.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from audit import note, tiles
from audit.errors import NoteError
from controlplane.api import files
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.cli.client import Client

TRIES = 8
ORIGIN = re.compile(r"[a-z0-9._-]+/audit/control-plane/([a-z0-9-]+)")
Content = dict[str, bytes]


def fetch(client: "Client", directory: Path) -> tuple[Path, int]:
    """(where it is now, how many entries)."""
    for _ in range(TRIES):
        cosigned = _cosigned(client)  # before the head, which may only be newer
        head = _read(client, tiles.CHECKPOINT)
        if head is None:
            raise CliError(
                "this control plane has no log yet", code=Exit.NOT_FOUND, hint="try again in a second"
            )
        name, size = _head(head)
        content = _partial(client, size)
        if content is None:
            continue
        target = directory / name
        for path in _full(size):
            if not (target / path).exists():
                _keep(target, path, _needed(client, path))
        last = {**content, tiles.COSIGNED: cosigned.get(name, b""), tiles.CHECKPOINT: head}
        for path, data in last.items():
            _keep(target, path, data)
        return target, size
    raise CliError("the log grows faster than it can be read", hint="try again")


def _head(data: bytes) -> tuple[str, int]:
    """(replica, size), as the checkpoint says; whether it says so rightly is for `verify`."""
    try:
        lines = note.split(data.decode("utf-8", "replace"))[0].split("\n")
        origin, size = ORIGIN.fullmatch(lines[0]), note.SIZE.fullmatch(lines[1])
    except (NoteError, IndexError) as exc:
        raise CliError(f"the checkpoint is malformed: {exc}", code=Exit.VERIFICATION) from exc
    if origin is None or size is None:
        raise CliError("the checkpoint is not of a control plane's log", code=Exit.VERIFICATION)
    return origin[1], int(size[0])


def _cosigned(client: "Client") -> Content:
    """By replica, from the witness and not from the log's directory: an older copy of both would speak for itself."""
    from controlplane.api.gen import admin_pb2

    logs = client.call(client.stub.ListWitnessed, admin_pb2.ListWitnessedRequest()).logs
    named = ((ORIGIN.fullmatch(one.origin), bytes(one.checkpoint)) for one in logs)
    return {origin[1]: checkpoint for origin, checkpoint in named if origin is not None}


def _partial(client: "Client", size: int) -> Content | None:
    """The files that the next checkpoint replaces; None when it already has."""
    paths = [tiles.tile_path(*one) for one in tiles.widths(size) if one[2] < tiles.WIDTH]
    if rest := size % tiles.WIDTH:
        paths.append(tiles.entries_path(size // tiles.WIDTH, rest))
    found = {path: _read(client, path) for path in paths}
    whole = {path: data for path, data in found.items() if data is not None}
    return whole if len(whole) == len(found) else None


def _full(size: int) -> list[str]:
    levels = [tiles.tile_path(*one) for one in tiles.widths(size) if one[2] == tiles.WIDTH]
    return levels + [tiles.entries_path(number) for number in range(size // tiles.WIDTH)]


def _needed(client: "Client", path: str) -> bytes:
    data = _read(client, path)
    if data is None:
        raise CliError(f"the log lacks `{path}`", code=Exit.VERIFICATION, hint="is its directory whole?")
    return data


def _read(client: "Client", path: str) -> bytes | None:
    from controlplane.api.gen import admin_pb2

    answer = client.call(client.stub.ReadEvidence, admin_pb2.ReadEvidenceRequest(path=path))
    return answer.data if answer.found else None


def _keep(target: Path, path: str, data: bytes) -> None:
    place = target / path
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(place, data)
