"""Recorded decisions for `writ policy`: from evidence directories, or from JSON lines as `writ audit tail -o json` prints.

Read as they are: whether they are genuine is `writ audit verify`'s to say. Anything that is no record ends the command.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from controlplane.cli import evidence
from controlplane.cli.errors import CliError, Exit
from policies import recorded
from policies.errors import InputError
from policies.recorded import Recorded

MAX_LINE_BYTES = 65_536


def read(paths: list[Path]) -> Iterator[Recorded]:
    """Decisions of all paths, one after another; runs and gaps are left out."""
    for path in paths:
        entries = evidence.entries(path) if path.is_dir() else _lines(path)
        for number, entry in enumerate(entries, 1):
            found = _record(path, number, entry)
            if found is not None:
                yield found


def find(paths: list[Path], record_id: str) -> Recorded:
    """The record with this id: `<request id>/in` or `/out`, or the request id alone where one end recorded it."""
    request_id, _, direction = record_id.partition("/")
    found = [record for record in read(paths) if record.request_id == request_id]
    ends = [record for record in found if direction in {"", record.direction}]
    if not ends:
        raise CliError(f"no record `{record_id}`", code=Exit.NOT_FOUND, hint="is it in these --records?")
    if len({record.direction for record in ends}) > 1:
        raise CliError(
            f"both ends recorded `{record_id}`",
            code=Exit.USAGE,
            hint=f"`{request_id}/out` or `{request_id}/in`",
        )
    return ends[0]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise CliError(
                        f"`{path}` has a line of more than {MAX_LINE_BYTES} bytes", code=Exit.USAGE
                    )
                yield line
    except OSError as exc:
        raise CliError(f"cannot read `{path}`: {exc.strerror}", code=Exit.USAGE) from exc


def _record(path: Path, number: int, entry: bytes) -> Recorded | None:
    where = f"`{path}` record {number}"
    try:
        document = json.loads(entry)
        if not isinstance(document, dict):
            raise InputError(where, "is no JSON object")
        return recorded.read(document, where)
    except InputError as exc:
        raise CliError(str(exc), code=Exit.USAGE, hint=exc.hint) from exc
    except (ValueError, RecursionError) as exc:
        raise CliError(f"{where}: not JSON: {exc}", code=Exit.USAGE) from exc
