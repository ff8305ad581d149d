"""Evidence on disk, for `writ audit`: reading a log's directory and a file of verifier keys."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit import note, record, tiles
from audit.errors import AuditError, NoteError
from audit.record import AdminRecord
from controlplane.cli import documents
from controlplane.cli.errors import CliError, Exit

MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Keys:
    """Whom to believe: each log's key by its origin, and the witness."""

    logs: Mapping[str, note.VerifierKey]
    witness: note.VerifierKey

    def log_of(self, path: Path) -> note.VerifierKey:
        """The key of the log in a directory, by the origin its checkpoint names; unknown logs are an error."""
        head = (reader(path)("checkpoint") or b"").decode("utf-8", "replace")
        origin = head.partition("\n")[0]
        if origin not in self.logs:
            known = ", ".join(sorted(self.logs)) or "none"
            hint = f"known logs: {known}"
            raise CliError(
                f"`{path}` holds the log `{origin[:128]}`, for which there is no key",
                code=Exit.VERIFICATION,
                hint=hint,
            )
        return self.logs[origin]


def reader(directory: Path) -> tiles.Read:
    """Files below a log's directory; what is not there is None."""

    def read(path: str) -> bytes | None:
        try:
            with (directory / path).open("rb") as file:
                return file.read(MAX_FILE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise CliError(f"cannot read `{exc.filename}`: {exc.strerror}") from exc

    return read


def read_keys(path: Path) -> Keys:
    """`log <vkey>` and `witness <name> <vkey>` lines; anything else is an error."""
    logs: dict[str, note.VerifierKey] = {}
    witness: note.VerifierKey | None = None
    for number, line in enumerate(documents.read_text(path).splitlines(), 1):
        words = line.partition("#")[0].split()
        try:
            match words:
                case []:
                    continue
                case ["log", key]:
                    logs[note.parse_key(key).name] = note.parse_key(key)
                case ["witness", _, key]:
                    witness = note.parse_key(key)
                case _:
                    raise NoteError("neither `log KEY` nor `witness NAME KEY`")
        except NoteError as exc:
            raise CliError(f"`{path}` line {number}: {exc}", code=Exit.USAGE) from exc
    if not logs or witness is None:
        raise CliError(
            f"`{path}` must name at least one log and a witness", code=Exit.USAGE, hint="writ audit keys"
        )
    return Keys(logs, witness)


def newest(directory: Path, count: int) -> list[dict[str, Any]]:
    """The newest records, oldest first, as JSON objects."""
    read, size = reader(directory), _size(directory)
    found: list[dict[str, Any]] = []
    number = (size - 1) // tiles.WIDTH
    while number >= 0 and len(found) < count:
        width = min(tiles.WIDTH, size - number * tiles.WIDTH)
        data = read(tiles.entries_path(number, width)) or b""
        try:
            found = [asdict(record.load(entry)) for entry in tiles.entries(data)] + found
        except AuditError as exc:
            raise CliError(f"`{directory}`: {exc}", code=Exit.VERIFICATION, hint="writ audit verify") from exc
        number -= 1
    return found[-count:]


def entries(directory: Path) -> Iterator[bytes]:
    """Every entry of a log, oldest first, as far as they are in a checkpoint."""
    read, size = reader(directory), _size(directory)
    for number in range(-(-size // tiles.WIDTH)):
        width = min(tiles.WIDTH, size - number * tiles.WIDTH)
        data = read(tiles.entries_path(number, width))
        if data is None:
            raise CliError(
                f"`{directory}` lacks entries {number * tiles.WIDTH} to {number * tiles.WIDTH + width - 1}",
                code=Exit.VERIFICATION,
                hint="writ audit verify",
            )
        try:
            yield from tiles.entries(data)
        except AuditError as exc:
            raise CliError(f"`{directory}`: {exc}", code=Exit.VERIFICATION, hint="writ audit verify") from exc


def calls(directories: list[Path]) -> list[dict[str, Any]]:
    """Calls of operators from the logs of control planes, oldest first: what was begun gives way to its outcome."""
    found: dict[object, dict[str, Any]] = {}
    for directory in directories:
        for number, entry in enumerate(entries(directory)):
            try:
                item = record.load(entry)
            except AuditError as exc:
                raise CliError(f"`{directory}`: {exc}", code=Exit.VERIFICATION) from exc
            if isinstance(item, AdminRecord):
                found[item.call_id or (directory, number)] = asdict(item)
    return sorted(found.values(), key=lambda one: int(one["time_ms"]))


def call_row(item: Mapping[str, Any]) -> tuple[object, ...]:
    """A call as a line of a table."""
    at = datetime.fromtimestamp(item["time_ms"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    more = f"and {item['suppressed']} refusals of strangers before" if item["suppressed"] else ""
    why = "; ".join(part for part in (item["reason"], more) if part)
    return (
        at,
        item["operator"] or "-",
        item["role"] or "-",
        item["call"] or "-",
        item["target"],
        item["outcome"],
        why,
    )


def _size(directory: Path) -> int:
    """How many entries the newest checkpoint covers."""
    head = reader(directory)("checkpoint")
    if head is None:
        hint = "it is `<state_dir>/evidence` of an agent"
        raise CliError(f"`{directory}` holds no log", code=Exit.NOT_FOUND, hint=hint)
    try:
        return int(note.split(head.decode("utf-8", "replace"))[0].split("\n")[1])
    except (NoteError, ValueError, IndexError) as exc:
        raise CliError(f"the checkpoint is malformed: {exc}", code=Exit.VERIFICATION) from exc


def row(item: Mapping[str, Any]) -> tuple[object, ...]:
    """A record as a line of a table."""
    at = datetime.fromtimestamp(item["time_ms"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    if item["kind"] == "admin":
        return at, "-", item["operator"] or "-", item["call"], item["target"] or "-", item["outcome"], "-"
    if item["kind"] != "decision":
        what = item.get("reason") or f"Envoy {item.get('envoy', '')}"
        return at, "-", "-", item["kind"], what, "-", "-"
    peer = item["peer"].rpartition("//")[2]
    decision = "allow" if item["allowed"] else item["code"]
    return at, item["direction"], peer, item["action"], item["resource"], decision, item["policy"] or "-"
