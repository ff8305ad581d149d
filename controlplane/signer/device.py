"""Keys that are elsewhere, among those in files: what a device holds and what it does not.

A device holds the P-256 keys that are used every day: those of issuing CAs and of JWT-SVIDs. The root's and the witness's stay in
files (one is taken offline, the other is shared by replicas), and so do document keys, which few devices can hold.
What a device signs is not the same twice: a certificate that is signed again has the same contents and another signature.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from controlplane.errors import InvalidError
from controlplane.signer.base import Signer
from controlplane.signer.file import FileSigner

IN_FILES = ("root", "witness-")


class Device(Signer, Protocol):
    """A signer that knows which keys it holds, and which it is to hold."""

    def has(self, name: str) -> bool: ...

    def keeps(self, name: str) -> bool:
        """Whether a new P-256 key of this name belongs here: if it cannot be made then, it is made nowhere."""
        ...


class DeviceSigner(FileSigner):
    """Files, and a device in front of them."""

    def __init__(self, directory: Path, passphrase: bytes, device: Device) -> None:
        super().__init__(directory, passphrase)
        self._device = device

    def create(self, name: str, kind: str) -> keys.PublicKey:
        if kind == "p256" and not name.startswith(IN_FILES) and self._device.keeps(name):
            return self._device.create(name, kind)
        return super().create(name, kind)

    def spares(self, prefix: str) -> Sequence[str]:
        return self._device.spares(prefix)

    def has(self, name: str) -> bool:
        return super().has(name) or self._device.has(name)

    def public_key(self, name: str) -> keys.PublicKey:
        return self._device.public_key(name) if self._device.has(name) else super().public_key(name)

    def sign(self, name: str, data: bytes) -> bytes:
        return self._device.sign(name, data) if self._device.has(name) else super().sign(name, data)

    def ceremony_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        if not self._device.has(name):
            return super().ceremony_key(name)
        public = self._device.public_key(name)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise InvalidError(f"key `{name}` is not P-256")
        return _Elsewhere(self._device, name, public)


class _Elsewhere(ec.EllipticCurvePrivateKey):
    """For the X.509 builder, which needs no more of a private key than that it signs."""

    def __init__(self, device: Device, name: str, public: ec.EllipticCurvePublicKey) -> None:
        self._device, self._name, self._public = device, name, public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        del signature_algorithm  # ECDSA with SHA-256, as everywhere
        return self._device.sign(self._name, bytes(data))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def _never(self, *_: object, **__: object) -> NoReturn:
        raise InvalidError(f"key `{self._name}` does not leave its device")

    exchange = private_numbers = private_bytes = __copy__ = __deepcopy__ = _never
