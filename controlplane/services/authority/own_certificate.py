"""A certificate of this control plane's own, made in memory and made again at half of its life; its key is never stored."""

import time

from certs import issue, keys
from certs.profile import Profile
from certs.spiffe import SpiffeId
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import setup
from policies import roots

LIFETIME_S = 86_400


class OwnCertificate:
    """One name, by the control-plane CA that issues now."""

    def __init__(self, made: Authorities, spiffe_id: SpiffeId) -> None:
        self._made, self._spiffe_id = made, spiffe_id
        self._made_at, self._ca = 0.0, b""
        self._key, self._chain = b"", b""

    def current(self) -> tuple[bytes, bytes]:
        """Private key and chain, PEM."""
        old = time.time() - self._made_at > LIFETIME_S / 2
        if old or self._ca != self._made.control_plane_ca.certificate:
            self._make()
        return self._key, self._chain

    def _make(self) -> None:
        key, issuer = keys.generate_p256(), self._made.control_plane_ca
        prepared = issue.prepare_control_plane(
            Profile(lifetime_s=LIFETIME_S),
            self._spiffe_id,
            public_key=key.public_key(),
            issuer=issuer,
            serial=setup.new_serial(),
            now=int(time.time()),
        )
        stands = self._made.now
        above = roots.crosses(stands.changes, stands.roots, issuer.certificate)
        leaf = issue.sign(prepared, self._made.signing(prepared.key_name))
        self._key, self._chain = keys.dump_private(key, None), setup.pem(leaf, issuer.certificate, *above)
        self._made_at, self._ca = time.time(), issuer.certificate
