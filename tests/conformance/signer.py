"""What every signer must do, whatever holds its keys: `names` it can make keys of, `kinds` that it makes."""

import pytest
from cryptography.exceptions import InvalidSignature

from certs import keys
from controlplane.errors import ExistsError, InvalidError, NotFoundError

DATA = b"to be signed"


def verify(public: keys.PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        if keys.is_p256(public):
            public.verify(signature, data, keys.ECDSA_SHA256)
        else:
            public.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def check(signer, kinds: dict[str, str]) -> None:
    """`kinds`: name of a key that can be made -> its kind; two at least."""
    made = {name: signer.create(name, kind) for name, kind in kinds.items()}
    for name, public in made.items():
        assert signer.has(name)
        assert keys.spki(signer.public_key(name)) == keys.spki(public)
        for data in (DATA, b"", b"x" * 100_000):
            signature = signer.sign(name, data)
            assert verify(public, signature, data)
            assert not verify(public, signature, data + b"x")
            others = [
                other for theirs, other in made.items() if kinds[theirs] == kinds[name] and theirs != name
            ]
            assert not any(verify(other, signature, data) for other in others)
        with pytest.raises(ExistsError):
            signer.create(name, kinds[name])
        assert keys.spki(signer.public_key(name)) == keys.spki(public)  # and it is still the same
    assert len({keys.spki(public) for public in made.values()}) == len(made)


def check_refusals(signer) -> None:
    for name in ("nobody", "../x", "", "x" * 200):
        with pytest.raises((NotFoundError, InvalidError)):
            signer.sign(name, DATA)
        with pytest.raises((NotFoundError, InvalidError)):
            signer.public_key(name)
    for name in ("../x", "", "a/b", "X", "x" * 200):
        with pytest.raises(InvalidError):
            signer.create(name, "p256")
