"""P-256 keys in a PKCS#11 token (an HSM, or SoftHSM): made there, sensitive, not extractable.

The name of a key is its label. A session that is lost is opened again at the next call; until then what was asked is
UnavailableError, and nothing was signed.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from controlplane.errors import ExistsError, InvalidError, NotFoundError, UnavailableError
from controlplane.signer.file import NAME

T = TypeVar("T")
CURVE = "secp256r1"
COORDINATE = 32


class Pkcs11Signer:
    """One token. `module`: the vendor's library; `token`: its label."""

    def __init__(self, module: Path, token: str, pin: str) -> None:
        try:
            import pkcs11  # an extra: most control planes have no device
        except ImportError as exc:
            raise InvalidError("python-pkcs11 is not installed", hint="install writ-mesh[hsm]") from exc
        self._pkcs11, self._module, self._token, self._pin = pkcs11, module, token, pin
        self._session: Any = None
        self._public: dict[str, ec.EllipticCurvePublicKey] = {}
        self._private: dict[str, Any] = {}
        self._use(lambda _: None)  # a wrong PIN is found out at start

    def create(self, name: str, kind: str) -> ec.EllipticCurvePublicKey:
        if kind != "p256" or not NAME.fullmatch(name):
            raise InvalidError(f"a token is asked for P-256 keys only, not for `{kind}` named `{name[:64]}`")
        if self.has(name):
            raise ExistsError(f"key `{name}` exists in token `{self._token}`")
        self._use(lambda session: self._generate(session, name))
        return self.public_key(name)

    def _generate(self, session: Any, name: str) -> None:
        from pkcs11.util.ec import encode_named_curve_parameters  # as above

        attribute, kinds = self._pkcs11.Attribute, self._pkcs11.KeyType
        curve = {attribute.EC_PARAMS: encode_named_curve_parameters(CURVE)}
        session.create_domain_parameters(kinds.EC, curve, local=True).generate_keypair(
            store=True,
            label=name,
            private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
        )

    def spares(self, prefix: str) -> Sequence[str]:
        del prefix
        return ()

    def keeps(self, name: str) -> bool:
        del name
        return True

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def public_key(self, name: str) -> ec.EllipticCurvePublicKey:
        found = self._find(name)
        if found is None:
            raise NotFoundError(f"there is no key `{name[:64]}` in token `{self._token}`")
        return found

    def sign(self, name: str, data: bytes) -> bytes:
        self.public_key(name)
        digest = hashlib.sha256(data).digest()

        def signed(session: Any) -> bytes:
            if name not in self._private:
                self._private[name] = self._one(session, name, self._pkcs11.ObjectClass.PRIVATE_KEY)
            return bytes(self._private[name].sign(digest, mechanism=self._pkcs11.Mechanism.ECDSA))

        raw = self._use(signed)
        r, s = (int.from_bytes(half, "big") for half in (raw[:COORDINATE], raw[COORDINATE:]))
        return encode_dss_signature(r, s)

    def _find(self, name: str) -> ec.EllipticCurvePublicKey | None:
        if name not in self._public:
            from pkcs11.util.ec import encode_ec_public_key  # as above

            found = self._use(lambda session: self._one(session, name, self._pkcs11.ObjectClass.PUBLIC_KEY))
            if found is None:
                return None
            key = load_der_public_key(self._use(lambda _: encode_ec_public_key(found)))
            if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
                raise InvalidError(f"key `{name}` in token `{self._token}` is not P-256")
            self._public[name] = key
        return self._public[name]

    def _one(self, session: Any, name: str, kind: Any) -> Any:
        attribute = self._pkcs11.Attribute
        found = list(session.get_objects({attribute.LABEL: name, attribute.CLASS: kind}))
        if len(found) > 1:
            raise InvalidError(f"token `{self._token}` has several keys named `{name}`")
        return found[0] if found else None

    def _use(self, what: Callable[[Any], T]) -> T:
        try:
            if self._session is None:
                self._session = self._opened()
            return what(self._session)
        except (self._pkcs11.PKCS11Error, RuntimeError) as exc:
            self._session = None
            self._private.clear()
            reason = str(exc) or type(exc).__name__
            raise UnavailableError(
                f"token `{self._token}` cannot be used: {reason}",
                hint="keys.pkcs11_module, _token, _pin_file",
            ) from exc

    def _opened(self) -> Any:
        token = self._pkcs11.lib(str(self._module)).get_token(token_label=self._token)
        try:
            return token.open(rw=True, user_pin=self._pin)
        except (
            self._pkcs11.UserAlreadyLoggedIn
        ):  # a process is logged in once, whatever became of its sessions
            return token.open(rw=True)
