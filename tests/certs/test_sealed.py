"""Secrets under a passphrase or under shares: what opens them, and that nothing else does."""

import itertools
import json
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import sealed, shares
from certs.errors import CertError, KeyFormatError, SealedError, ShareError

PASSPHRASE = b"correct horse battery"


@given(secret=st.binary(max_size=64), threshold=st.integers(2, 5), more=st.integers(0, 3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_k_of_n_shares_give_the_secret_back(secret, threshold, more, data) -> None:
    made = shares.split(secret, threshold + more, threshold, secrets.token_bytes)
    chosen = data.draw(st.permutations(made))[: data.draw(st.integers(threshold, len(made)))]
    assert shares.join(chosen) == secret


def test_fewer_shares_say_nothing() -> None:
    """With one share short, every secret is as likely as any other: for each there is a share that completes it."""
    (one, _), (two, _) = (shares.split(b"\x2a", 2, 2, secrets.token_bytes) for _ in range(2))
    completed = {shares.join([one, (2, bytes([value]))]) for value in range(256)}
    assert len(completed) == 256
    assert one[0] == two[0] == 1


def test_known_products_of_the_field() -> None:
    assert shares._times(0x57, 0x83) == 0xC1  # FIPS 197, 4.2
    assert all(shares._times(a, shares._inverse(a)) == 1 for a in range(1, 256))


@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (3, 1), (2, 3), (256, 2), (0, 0)])
def test_a_split_that_protects_nothing_is_refused(count, threshold) -> None:
    with pytest.raises(ShareError):
        shares.split(b"s", count, threshold, secrets.token_bytes)


def test_shares_that_do_not_belong_together_are_refused() -> None:
    (first, second) = shares.split(b"secret", 2, 2, secrets.token_bytes)
    for wrong in ([first, first], [first, (2, b"short")], [(0, second[1]), first], [first, (256, second[1])]):
        with pytest.raises(ShareError):
            shares.join(wrong)


def test_a_passphrase_opens_what_it_sealed_and_no_other_does() -> None:
    data = sealed.seal(b"root key", PASSPHRASE, secrets.token_bytes)
    assert b"root key" not in data
    assert sealed.open_sealed(data, PASSPHRASE) == b"root key"
    with pytest.raises(SealedError):
        sealed.open_sealed(data, PASSPHRASE + b" ")
    with pytest.raises(KeyFormatError):
        sealed.seal(b"root key", b"short", secrets.token_bytes)


def test_every_changed_part_is_noticed() -> None:
    data, given_ = sealed.seal_shared(b"root key", 3, 2, secrets.token_bytes)
    document = json.loads(data)
    for part in ("nonce", "sealed"):
        changed = {**document, part: document[part][::-1]}
        with pytest.raises(SealedError):
            sealed.open_shared(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode(), given_)
    weaker = {**document, "header": {**document["header"], "threshold": 1}}
    with pytest.raises(SealedError):
        sealed.open_shared(json.dumps(weaker, sort_keys=True, separators=(",", ":")).encode(), given_[:1])
    for nothing in (b"", b"{}", b"[]", b"\xff", b'{"header":{"v":2}}', b'{"header":1}'):
        with pytest.raises(SealedError):
            sealed.open_sealed(nothing, PASSPHRASE)


def test_two_of_three_shares_open_and_one_does_not() -> None:
    data, given_ = sealed.seal_shared(b"root key", 3, 2, secrets.token_bytes)
    for pair in itertools.combinations(given_, 2):
        assert sealed.open_shared(data, list(pair)) == b"root key"
    for too_few in ([given_[0]], [given_[0], given_[0] + "\n"], []):
        with pytest.raises(SealedError, match="shares are needed"):
            sealed.open_shared(data, too_few)
    _, others = sealed.seal_shared(b"root key", 3, 2, secrets.token_bytes)
    for wrong in ([given_[0], others[1]], [given_[0], "no share"], [given_[0], "writ-share1.x.y"]):
        with pytest.raises(CertError):
            sealed.open_shared(data, wrong)
    with pytest.raises(SealedError, match="under shares"):
        sealed.open_sealed(data, PASSPHRASE)
