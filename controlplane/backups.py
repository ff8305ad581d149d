"""`backup create`, `backup restore`, `backup new-epoch`: what an operator does with a whole store, each in one run of its own."""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane import config as settings
from controlplane import model, opening
from controlplane.api import files
from controlplane.authority_rows import ReplicaRow
from controlplane.config import Config
from controlplane.errors import CorruptError, ExistsError, InvalidError, UnavailableError
from controlplane.services import rows
from controlplane.services.authority import authorities
from controlplane.services.authority.authorities import Authorities
from controlplane.services.restore import backup, epochs
from controlplane.services.restore.epochs import Opened, Told
from controlplane.services.restore.mark import FILE, Mark
from controlplane.signer.file import FileSigner
from controlplane.store import sqlite
from controlplane.store.base import Item
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.sealing import load_key_file, new_key_file
from controlplane.store.sqlite import SqliteStore

TRUST, DELEGATION = "trust.json", "delegation.json"


def create(arguments: argparse.Namespace) -> None:
    """Every row of one revision into a new file. The control plane may run meanwhile."""
    config, out = settings.load(arguments.config), arguments.out
    if out.exists():
        raise ExistsError(f"`{out}` exists", hint="give --out another file")
    items, revision = _all(config)
    items = [item for item in items if item.key != rows.WITNESS_KEY]  # each replica has it, and puts it back
    if config.store.kind == "sqlite" and new_key_file(config.store.kek_file):
        _say(f"key file made: {config.store.kek_file}")
    sealer = load_key_file(config.store.kek_file)
    data = backup.dump(config.trust_domain, items, revision, int(time.time()), sealer)
    _write(out, data)
    _say(f"{len(items)} rows of revision {revision} in `{out}`, {len(data)} bytes")
    _say(
        f"it opens with `{config.store.kek_file}` only, and holds no private key of this control plane: keep"
    )
    _say(f"that file, `{config.state_dir}/keys` and the passphrase elsewhere, and not with the backup")


def _all(config: Config) -> tuple[list[Item], int]:
    if config.store.kind == "sqlite":
        return sqlite.look(config.state_dir.resolve() / "writ.db")
    return asyncio.run(_list(config))


async def _list(config: Config) -> tuple[list[Item], int]:
    store = await opening.open_store(config, f"{config.replica}.backup")
    try:
        return await store.list("")
    finally:
        await store.close()


def restore(arguments: argparse.Namespace) -> None:
    """Into an empty store, and a new epoch if that is asked for."""
    config = settings.load(arguments.config)
    made, told = _made(config), _told(arguments, config) if arguments.new_epoch else ()
    header, found = backup.load(_read(arguments.file), load_key_file(config.store.kek_file))
    _check_ours(header, found, config, made)
    asyncio.run(_restore(config, header, found))
    _say(f"{header.rows} rows of revision {header.revision}, taken {_when(header.taken_at)}")
    if arguments.new_epoch:
        _report(asyncio.run(_begin(config, made, told)))
    else:
        _say("nothing is served from it until a new epoch is opened: writ backup new-epoch")


def new_epoch(arguments: argparse.Namespace) -> None:
    """Over a store that is there: restored without one, or put back by other means."""
    config = settings.load(arguments.config)
    made = _made(config)
    _report(asyncio.run(_begin(config, made, _told(arguments, config))))


def _made(config: Config) -> Authorities:
    signer = FileSigner(config.state_dir / "keys", opening.read_passphrase(config))
    return authorities.load(config.state_dir, signer)


def _check_ours(header: backup.Header, found: Mapping[str, bytes], config: Config, made: Authorities) -> None:
    if header.trust_domain != config.trust_domain:
        raise InvalidError(f"the backup is of the mesh `{header.trust_domain}`")
    known = [item for key, item in found.items() if key.startswith("replica/")]
    if any(model.load(ReplicaRow, one).root != made.root.hex() for one in known):
        raise InvalidError("the backup is of a mesh with another root", hint="is state_dir the right one?")


async def _restore(config: Config, header: backup.Header, found: Mapping[str, bytes]) -> None:
    store = await _fresh(config)
    try:
        await epochs.restore(store, header.taken_at, header.revision, found)
    finally:
        await store.close()


async def _fresh(config: Config) -> EtcdStore | SqliteStore:
    if config.store.kind == "etcd":
        return await opening.create_etcd(config)
    path = config.state_dir / "writ.db"
    if path.exists():
        raise ExistsError(
            f"`{path}` exists", hint="stop the control plane, and move the file and its -wal away"
        )
    return SqliteStore.open(path)


async def _begin(config: Config, made: Authorities, told: Sequence[Told]) -> Opened:
    store = await opening.open_store(config, f"{config.replica}.ceremony")
    try:
        mark = Mark(config.state_dir / FILE)
        return await epochs.begin(store, mark, told, made, await _next_second())
    finally:
        await store.close()


async def _next_second() -> int:
    """The second that begins now. Cosignatures know whole seconds: one of the epoch before must not look like one of this."""
    now = time.time()
    await asyncio.sleep(math.ceil(now) - now)
    return math.ceil(now)


def _told(arguments: argparse.Namespace, config: Config) -> Sequence[Told]:
    """What agents hold. Without it, revocations since the backup would be forgotten: that must be asked for."""
    if bool(arguments.agent) is arguments.without_agents:
        hint = (
            "--agent DIR (an agent's state_dir, or a copy), more than once if in doubt; or --without-agents"
        )
        raise InvalidError("what was revoked since the backup?", hint=hint)
    made, now = _made(config), int(time.time())
    return [_documents(directory, made, now) for directory in arguments.agent]


def _documents(directory: Path, made: Authorities, now: int) -> Told:
    """Of an agent's state directory, or of the `documents` in it."""
    kept = directory / "documents" if (directory / "documents").is_dir() else directory
    delegations = [path for path in (kept / DELEGATION, directory / DELEGATION) if path.exists()]
    return epochs.verified(_read((delegations or [kept / DELEGATION])[0]), _read(kept / TRUST), made, now)


def _report(opened: Opened) -> None:
    merged = opened.merged
    _say(f"epoch {opened.number}, from generation {opened.generation}: start the control plane")
    if merged.narrowed:
        _say(f"revoked or raised, as agents know it: {', '.join(merged.narrowed)}")
    if merged.dropped:
        _say(f"replicas that were removed since, and stay so: {', '.join(merged.dropped)}")
    if merged.policy not in {0, opened.policy}:
        _say(f"policy {opened.policy} is in force; agents had {merged.policy}: apply what is missing")
    _say("tokens are forgotten; nodes that were invited since need a new one")
    _say("operators are those of that state: writ operator list")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > backup.MAX_BACKUP_BYTES:
            raise CorruptError(f"`{path}` is larger than {backup.MAX_BACKUP_BYTES} bytes")
        return path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"cannot read `{path}`: {exc.strerror}") from exc


def _write(path: Path, data: bytes) -> None:
    """Whole, synced and 0600, or not at all."""
    try:
        files.write(path, data)
    except OSError as exc:
        raise UnavailableError(f"cannot write `{path}`: {exc.strerror}") from exc


def _when(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
