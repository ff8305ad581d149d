"""Values at rest: bound to their name and their key, never under one nonce twice."""

import base64

import pytest

from controlplane.errors import CorruptError, InvalidError, UnavailableError
from controlplane.store import sealing
from controlplane.store.sealing import Sealer, load_key_file, new_key_file

OLD, NEW = b"o" * 32, b"n" * 32


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 100_000])
def test_what_is_sealed_opens_under_its_name_only(value) -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("a", value)
    assert sealer.open("a", sealed) == value
    assert len(sealed) == len(value) + sealing.OVERHEAD
    with pytest.raises(CorruptError, match="altered"):
        sealer.open("b", sealed)


def test_every_byte_counts() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("a", b"value")
    for place in range(len(sealed)):
        forged = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(CorruptError):
            sealer.open("a", forged)
    for length in range(len(sealed)):
        with pytest.raises(CorruptError):
            sealer.open("a", sealed[:length])


def test_no_nonce_comes_twice_and_no_two_processes_share_a_key(monkeypatch) -> None:
    monkeypatch.setattr(sealing, "MAX_PER_SALT", 3)
    sealers = [Sealer([OLD]), Sealer([OLD])]
    starts = [one.seal("a", b"")[:33] for one in sealers for _ in range(10)]
    assert len(set(starts)) == 20


def test_keys_are_replaced_one_after_the_other() -> None:
    old, both, new = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    assert both.open("a", old.seal("a", b"1")) == b"1"
    assert new.open("a", both.seal("a", b"2")) == b"2"
    with pytest.raises(CorruptError, match="another key"):
        new.open("a", old.seal("a", b"1"))


def test_a_key_file_is_private_and_made_once(tmp_path) -> None:
    path = tmp_path / "keys" / "kek"
    new_key_file(path)
    before = path.read_bytes()
    new_key_file(path)
    assert (path.read_bytes(), oct(path.stat().st_mode)[-3:]) == (before, "600")
    assert load_key_file(path).open("a", load_key_file(path).seal("a", b"1")) == b"1"


@pytest.mark.parametrize("text", ["", "\n", "short", "?" * 44, base64.b64encode(b"k" * 31).decode()])
def test_what_is_no_key_file_is_refused(tmp_path, text) -> None:
    (tmp_path / "kek").write_text(text)
    with pytest.raises(InvalidError, match="no key file"):
        load_key_file(tmp_path / "kek")


def test_a_missing_key_file_says_what_to_set(tmp_path) -> None:
    with pytest.raises(UnavailableError) as caught:
        load_key_file(tmp_path / "kek")
    assert "store.kek_file" in caught.value.hint
