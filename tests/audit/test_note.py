"""Signed notes and checkpoints, as C2SP has them; what is bent is refused."""

import pytest

from audit import note
from audit.errors import NoteError
from certs import keys

KEY, OTHER, WITNESS = keys.generate_ed25519(), keys.generate_ed25519(), keys.generate_ed25519()
LOG = note.VerifierKey("acme.example/audit/paris/gpu-1", note.NOTE, keys.raw(KEY.public_key()))
WITNESS_KEY = note.VerifierKey("acme.example/witness", note.COSIGNATURE, keys.raw(WITNESS.public_key()))
HEAD = note.Checkpoint(LOG.name, 42, b"r" * 32)
NOTE = note.sign_checkpoint(HEAD, LOG, KEY.sign)


def test_a_checkpoint_opens_with_its_key_and_says_when_it_was_cosigned() -> None:
    assert note.open_checkpoint(NOTE, [LOG]) == (HEAD, {LOG.name: 0})
    both = NOTE + note.cosign(NOTE, WITNESS_KEY, WITNESS.sign, 1_800_000_000)
    assert note.open_checkpoint(both, [LOG, WITNESS_KEY]) == (
        HEAD,
        {LOG.name: 0, WITNESS_KEY.name: 1_800_000_000},
    )
    assert note.parse_key(str(LOG)) == LOG


def test_unknown_signatures_are_ignored_and_a_known_bad_one_refuses_all() -> None:
    stranger = note.VerifierKey("x", note.NOTE, keys.raw(OTHER.public_key()))
    extra = note.sign_checkpoint(HEAD, stranger, OTHER.sign).rpartition("\n\n")[2]
    assert note.open_checkpoint(NOTE + extra, [LOG])[0] == HEAD
    forged = note.sign_checkpoint(HEAD, LOG, OTHER.sign).rpartition("\n\n")[2]
    with pytest.raises(NoteError, match="does not verify"):
        note.open_checkpoint(NOTE + forged, [LOG])


@pytest.mark.parametrize(
    "bent",
    [
        NOTE.replace("\n42\n", "\n43\n"),
        NOTE.replace("\n42\n", "\n042\n"),
        NOTE.replace("paris", "berlin"),
        NOTE.replace("\n\n", "\n"),
        NOTE + "\x07",
        NOTE[:-1],
        "",
        "x" * 20_000,
        NOTE.replace("\u2014", "-"),
    ],
)
def test_a_bent_note_is_refused(bent: str) -> None:
    with pytest.raises(NoteError):
        note.open_checkpoint(bent, [LOG])


def test_a_key_with_a_wrong_id_is_refused() -> None:
    for text in ("", "a+b", str(LOG).replace(LOG.id.hex(), "00000000"), str(LOG)[:-4]):
        with pytest.raises(NoteError):
            note.parse_key(text)
