"""The backup as a file: whole or refused, ours or refused, and silent to whoever has no key."""

import json

import pytest

from controlplane.errors import CorruptError, InvalidError
from controlplane.services.restore import backup
from controlplane.store.base import Item
from controlplane.store.sealing import Sealer

SEALER = Sealer([b"k" * 32])
ITEMS = [Item(f"node/{number:05d}", bytes([number % 251]) * 700, 7) for number in range(4000)]
FILE = backup.dump("acme.example", ITEMS, 42, 1_900_000_000, SEALER)
HEADER, BODY = FILE.split(b"\n", 1)


def chunks() -> list[bytes]:
    return [backup.LENGTH.pack(len(one)) + one for one in backup._chunks(BODY)]


def headed(body: bytes, **changes: object) -> bytes:
    """A file whose checksum is right again: what only the encryption can find."""
    fields = {**json.loads(HEADER), "sha256": backup.hashlib.sha256(body).hexdigest(), **changes}
    return json.dumps(fields, sort_keys=True).encode() + b"\n" + body


def test_what_was_backed_up_comes_back() -> None:
    header, rows = backup.load(FILE, SEALER)
    assert rows == {item.key: item.value for item in ITEMS}
    assert (header.revision, header.rows, header.chunks, header.trust_domain) == (42, 4000, 3, "acme.example")


def test_an_empty_store_is_a_backup_too() -> None:
    assert backup.load(backup.dump("acme.example", [], 0, 0, SEALER), SEALER)[1] == {}


def test_nothing_of_it_can_be_read_without_the_key() -> None:
    assert b"node/" not in FILE
    with pytest.raises(CorruptError, match="another key"):
        backup.load(FILE, Sealer([b"x" * 32]))


@pytest.mark.parametrize("at", [0, 10, len(HEADER), len(HEADER) + 3, len(HEADER) + 60, len(FILE) // 2, -1])
def test_a_changed_byte_is_found(at) -> None:
    changed = bytearray(FILE)
    changed[at] ^= 1
    with pytest.raises(CorruptError):
        backup.load(bytes(changed), SEALER)


@pytest.mark.parametrize("length", [0, 1, len(HEADER), len(HEADER) + 1, len(HEADER) + 5, len(FILE) - 1])
def test_a_torn_file_is_found(length) -> None:
    with pytest.raises(CorruptError):
        backup.load(FILE[:length], SEALER)


@pytest.mark.parametrize(
    "file",
    [
        headed(b"".join(reversed(chunks()))),
        headed(b"".join(chunks()[:-1])),
        headed(b"".join(chunks()[:-1]), chunks=2),
        headed(BODY + chunks()[0], chunks=4),
        headed(BODY, revision=43),
        headed(BODY, trust_domain="evil.example"),
        headed(BODY, rows=1),
        headed(BODY, taken_at=0),
        headed(backup.LENGTH.pack(1 << 31) + b"x"),
    ],
    ids=["reordered", "cut", "cut and counted", "doubled", "newer", "foreign", "fewer", "earlier", "endless"],
)
def test_a_file_put_together_anew_does_not_open(file) -> None:
    with pytest.raises(CorruptError):
        backup.load(file, SEALER)


def test_chunks_of_another_backup_do_not_open() -> None:
    other = backup.dump("acme.example", ITEMS, 43, 1_900_000_000, SEALER).split(b"\n", 1)[1]
    with pytest.raises(CorruptError, match="altered"):
        backup.load(headed(other), SEALER)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"format": "tar", "version": 1}, "no backup"),
        ({**json.loads(HEADER), "version": 2}, "format 2, this program knows 1"),
        ({**json.loads(HEADER), "rows": "4000"}, "malformed"),
        ({**json.loads(HEADER), "more": 1}, "malformed"),
        ({"version": 1}, "no backup"),
        ([], "no backup"),
    ],
)
def test_what_is_no_backup_of_ours_is_said(header, said) -> None:
    with pytest.raises(CorruptError, match=said):
        backup.load(json.dumps(header).encode() + b"\n" + BODY, SEALER)


def test_a_store_that_is_too_large_is_not_backed_up(monkeypatch) -> None:
    monkeypatch.setattr(backup, "MAX_BACKUP_BYTES", 1000)
    with pytest.raises(InvalidError, match="larger than"):
        backup.dump("acme.example", ITEMS, 42, 0, SEALER)
