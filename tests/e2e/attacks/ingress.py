"""The callee's sidecar as a harness: one real Envoy, a real backend that tells what reached it, callers with any certificate."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed

from attacks.control import Attack
from sidecar import CALLER, Sidecar

ME = "spiffe://acme.example/fr/paris/app-1"
GOOD = (("writ-purpose", "treatment"), ("writ-data-class", "1"), ("writ-subject-region", "fr"))


@dataclass
class Ingress:
    """An attack got through if the caller was let in, or if anything reached the backend."""

    sidecar: Sidecar

    def through(self, attack: Callable[[Sidecar], bool]) -> bool:
        before = len(self.sidecar.backend.seen)
        return attack(self.sidecar) or len(self.sidecar.backend.seen) > before


def ask(**how) -> Attack:
    """One request of the good caller, with good claims, changed as said."""
    return lambda s: s.ask(**how).allowed


def chat(body: bytes) -> Attack:
    return ask(body=body)


def claim(*headers: tuple[str, str], **attributes) -> Attack:
    """Claims, and perhaps other attributes in the caller's certificate."""

    def attack(s: Sidecar) -> bool:
        leaf = s.pki.node("app-2", attributes=changed(CALLER, **attributes)) if attributes else s.caller
        return s.ask(leaf, headers=list(headers), claims=False).allowed

    return attack
