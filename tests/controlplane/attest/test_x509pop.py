"""Machine certificates as an attestor: the key is here, now, and asks for this key of ours."""

import dataclasses
from datetime import timedelta

import ca
import pytest
from ca import Ca
from conformance.attest import AttestConformance, request
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certs import machine
from certs.attributes import Attributes
from controlplane.attest import naming
from controlplane.attest.base import X509POP, Evidence
from controlplane.attest.challenges import MAX_OF_ONE, NONCE_S, Challenges
from controlplane.attest.x509pop import CONTEXT, SOURCES, X509Pop
from controlplane.errors import BusyError, NotAttestedError

ROOT = Ca("machines")
BELOW = Ca("machines of one site", ROOT)
GROUPS = Attributes(groups=frozenset({"fleet"}))
RSA = rsa.generate_private_key(65537, 2048)


class Machine:
    """A machine with a certificate of the operator's CA, and the attestor that knows that CA."""

    says = (X509POP, "gpu-1", "paris", 2)

    def __init__(self, key=None, chain=None) -> None:
        self.now = int(ROOT.now.timestamp())
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.DNSName("gpu-1.paris.dc.example")
        self.chain = chain or (BELOW.machine(self.key, names=[name]), BELOW.der)
        self.challenges = Challenges(lambda: self.now)
        named = naming.read("dns={node}.{site}.dc.example", SOURCES, "")
        self.attestor = X509Pop(
            [ROOT.der], named, self.challenges, tier=2, attributes=GROUPS, clock=lambda: self.now
        )

    def evidence(self, csr: bytes, nonce: bytes = b"") -> Evidence:
        nonce = nonce or self.challenges.ask(self.chain[0], "here")
        signature = machine.sign(self.key, CONTEXT + nonce + csr)
        return Evidence(kind=X509POP, csr=csr, chain=tuple(self.chain), nonce=nonce, signature=signature)

    async def refused(self, shown: Evidence) -> str:
        with pytest.raises(NotAttestedError) as caught:
            await self.attestor.attest(shown)
        return str(caught.value)


@pytest.fixture
def desk() -> Machine:
    return Machine()


@pytest.mark.parametrize(
    "key",
    [RSA, ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["RSA-PSS", "P-384", "Ed25519"],
)
async def test_every_kind_of_machine_key_proves_itself(key) -> None:
    desk = Machine(key)
    found = await desk.attestor.attest(desk.evidence(request()))
    assert (found.node, found.site, found.attributes, found.once) == ("gpu-1", "paris", GROUPS, "")


class TestX509Pop(AttestConformance):
    async def test_a_stolen_certificate_without_its_key_proves_nothing(self, desk) -> None:
        thief = Machine(chain=desk.chain)
        assert "did not sign" in await thief.refused(thief.evidence(request()))

    async def test_a_nonce_is_good_once(self, desk) -> None:
        csr = request()
        shown = desk.evidence(csr)
        await desk.attestor.attest(shown)
        assert "unknown or too old" in await desk.refused(shown)

    async def test_a_nonce_of_another_machine_is_refused(self, desk) -> None:
        nonce = desk.challenges.ask(b"another certificate", "here")
        assert "unknown or too old" in await desk.refused(desk.evidence(request(), nonce))

    async def test_a_nonce_of_our_own_making_is_refused(self, desk) -> None:
        assert "unknown or too old" in await desk.refused(desk.evidence(request(), b"n" * 32))

    async def test_a_nonce_ends(self, desk) -> None:
        shown = desk.evidence(request())
        desk.now += NONCE_S
        assert "unknown or too old" in await desk.refused(shown)

    async def test_a_refused_proof_has_used_its_nonce(self, desk) -> None:
        shown = desk.evidence(request())
        await desk.refused(dataclasses.replace(shown, signature=b"no"))
        assert "unknown or too old" in await desk.refused(shown)

    async def test_a_proof_that_is_relayed_enrols_no_other_key(self, desk) -> None:
        """Whoever stands between sees nonce and signature, and has a key of its own."""
        shown = desk.evidence(request())
        assert "did not sign" in await desk.refused(dataclasses.replace(shown, csr=request()))

    async def test_a_signature_for_another_purpose_is_refused(self, desk) -> None:
        """What the key signs elsewhere, such as a renewal of ours, is no proof."""
        csr, nonce = request(), desk.challenges.ask(desk.chain[0], "here")
        for context in (b"", b"writ-renew\n"):
            shown = desk.evidence(csr, nonce)
            signed = machine.sign(desk.key, context + nonce + csr)
            assert await desk.refused(dataclasses.replace(shown, signature=signed))

    @pytest.mark.parametrize("shift", [-400, 400])
    async def test_a_clock_that_is_days_off_believes_nobody(self, desk, shift) -> None:
        desk.now += shift * 86_400
        assert "does not lead to a CA" in await desk.refused(desk.evidence(request()))

    @pytest.mark.parametrize("shift", [-600, 600])
    async def test_a_clock_that_is_minutes_off_believes_machines(self, desk, shift) -> None:
        desk.now += shift
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "gpu-1"

    async def test_challenges_of_one_address_are_bounded(self, desk) -> None:
        for number in range(MAX_OF_ONE):
            desk.challenges.ask(str(number).encode(), "one")
        with pytest.raises(BusyError):
            desk.challenges.ask(b"more", "one")
        assert desk.challenges.ask(b"more", "another")
        desk.now += NONCE_S
        assert desk.challenges.ask(b"more", "one")


CA_FLAG = [(x509.BasicConstraints(ca=True, path_length=None), True), (ca.usage(digital_signature=True), True)]
UNKNOWN = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]
ENCIPHERS = [(ca.usage(key_encipherment=True), True)]
NO_WAY = "does not lead to a CA"
CHAINS = {
    "of another CA of the same name": (NO_WAY, lambda key: (Ca("machines").machine(key), ROOT.der)),
    "below a CA that was slipped in": (NO_WAY, lambda key: _slipped_in(key)),  # noqa: PLW0108 - defined below
    "of itself": (NO_WAY, lambda key: (Ca("gpu-1", key=key).der,)),
    "the CA's own": ("no machine", lambda _key: (ROOT.der,)),
    "without the CA between": (NO_WAY, lambda key: (BELOW.machine(key),)),
    "a CA's flag": ("no machine", lambda key: (ROOT.machine(key, extensions=CA_FLAG),)),
    "for servers alone": ("not for clients", lambda key: (ROOT.machine(key, purposes=[ca.SERVER]),)),
    "that may not sign": ("must not sign", lambda key: (ROOT.machine(key, extensions=ENCIPHERS),)),
    "that has ended": (NO_WAY, lambda key: (ROOT.machine(key, lasts=timedelta(minutes=-10)),)),
    "an unknown critical extension": (NO_WAY, lambda key: (ROOT.machine(key, extensions=UNKNOWN),)),
    "six certificates": ("1 to 5", lambda key: (ROOT.machine(key), *[BELOW.der] * 5)),
}


def _slipped_in(key) -> tuple[bytes, ...]:
    """A machine that signs for another, as if it were a CA."""
    own = ec.generate_private_key(ec.SECP256R1())
    mallory = Ca("mallory", key=own)
    return mallory.machine(key), BELOW.machine(own, common="mallory"), BELOW.der


@pytest.mark.parametrize(("why", "make"), CHAINS.values(), ids=CHAINS)
async def test_a_chain_that_proves_nothing_is_refused(why, make) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    desk = Machine(key, make(key))
    assert why in await desk.refused(desk.evidence(request()))


ODD = {
    "RSA-1024": rsa.generate_private_key(65537, 1024),
    "RSA-8192": 8192,
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
}


@pytest.mark.parametrize("name", ODD)
async def test_keys_that_are_weak_odd_or_dear_are_refused_before_they_are_used(name) -> None:
    """Also between leaf and root: what a stranger sends is not worth a second of ours."""
    key = ODD[name] if name != "RSA-8192" else _wide_key()
    desk = Machine(chain=(ROOT.machine(key),))
    assert "keys in a chain are" in await desk.refused(_shown(desk))
    odd = Machine(chain=(ROOT.machine(desk.key), _ca_of(key)))
    assert "keys in a chain are" in await odd.refused(_shown(odd))


def _shown(desk: Machine) -> Evidence:
    nonce = desk.challenges.ask(desk.chain[0], "here")
    return Evidence(kind=X509POP, csr=request(), chain=tuple(desk.chain), nonce=nonce, signature=b"s" * 64)


class _Wide:
    """The public half of a key that nobody has time to make."""

    def public_key(self) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()


def _wide_key() -> _Wide:
    return _Wide()


def _ca_of(key) -> bytes:
    constraints = (x509.BasicConstraints(ca=True, path_length=None), True)
    return ROOT.machine(key, common="odd", purposes=[], extensions=[constraints])


async def test_one_name_must_come_out_of_a_certificate() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    two = [x509.DNSName("gpu-1.paris.dc.example"), x509.DNSName("gpu-2.paris.dc.example")]
    for names in (
        two,
        [x509.DNSName("*.paris.dc.example")],
        [x509.DNSName("gpu-1.paris.dc.example.evil")],
        [],
    ):
        desk = Machine(key, (ROOT.machine(key, names=names),))
        assert "names no one node" in await desk.refused(desk.evidence(request()))
