"""The caller's sidecar as a harness: a local application sends, and what its peers received tells whether it left. Invariant 5.

The peers are real sidecars that allow everything: whatever is stopped, the caller stopped it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.ingress_claims import strip_nothing
from attacks.ingress_tls import at
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from pki import TD, Leaf, Pki
from sidecar import CALLER, Running, Sidecar

from agent.envoy import gate, listeners, pb, resources
from agent.judge import principal
from certs import spiffe
from certs.attributes import Attributes
from certs.profile import Profile
from policies import compile as compiler
from policies import parse
from policies.documents import Peer
from policies.model import ResourceKey, Rules

OPEN = '@id("open") permit (principal, action, resource);'
POLICY = """
@id("clinical")
permit (principal in Group::"clinical", action in [Action::"infer", Action::"embed"], resource in ModelGroup::"clinical")
when { context.purpose == "treatment" };
@id("residency")
forbid (principal, action, resource) when { resource.jurisdiction == "US" && context.data_class >= 3 };
"""
ME = replace(CALLER, class_ceiling=4)
EU, US, IMPOSTOR, EXPIRED, FOREIGN = (
    "gpu-1.berlin",
    "gpu-9.boston",
    "gpu-2.berlin",
    "gpu-3.berlin",
    "gpu-4.berlin",
)
REGION = ("writ-subject-region", "fr")
TREATMENT = ("writ-purpose", "treatment")


@dataclass
class Peers:
    """Who answers where."""

    pki: Pki
    known: tuple[Peer, ...]
    sidecars: tuple[Sidecar, ...]

    def received(self) -> int:
        return sum(len(one.backend.seen) for one in self.sidecars)


@dataclass
class Egress:
    """An attack got through if anything reached any peer's server."""

    caller: Sidecar
    peers: Peers

    def through(self, attack: Callable[[Sidecar], object]) -> bool:
        before = self.peers.received()
        attack(self.caller)
        return self.peers.received() > before


def identity_of(name: str) -> spiffe.SpiffeId:
    node, _, site = name.partition(".")
    return spiffe.node_id(TD, "US" if site == "boston" else "DE", site, node)


def leaf(pki: Pki, name: str, profile: Profile = Profile()) -> Leaf:
    who = identity_of(name)
    return pki.node(who.node, who.site, who.jurisdiction, Attributes(class_ceiling=4), profile=profile)


@contextlib.contextmanager
def peers(pki: Pki) -> Iterator[Peers]:
    """An honest peer in the EU and one in the US; at three more addresses somebody else answers."""
    foreign = Pki(now=pki.now)
    answers = {
        EU: (pki, leaf(pki, EU)),
        US: (pki, leaf(pki, US)),
        EXPIRED: (pki, leaf(at(pki, pki.now - 500), EXPIRED, Profile(lifetime_s=60))),
        FOREIGN: (foreign, leaf(foreign, FOREIGN)),
    }
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(Running(theirs, shown, policy=OPEN))
            for name, (theirs, shown) in answers.items()
        }
        running[IMPOSTOR] = running[EU]
        known = tuple(
            Peer(node=name, spiffe_id=str(identity_of(name)), address=f"127.0.0.1:{one.port}")
            for name, one in sorted(running.items())
        )
        yield Peers(pki, known, tuple(running[name] for name in answers))


def rules() -> Rules:
    facts = [
        compiler.ResourceFacts(
            key=ResourceKey("Model", "ngram", name),
            groups=frozenset({"clinical"}),
            owner="x",
            max_class=4,
            site=identity_of(name).site,
            jurisdiction=identity_of(name).jurisdiction,
        )
        for name in (EU, US, IMPOSTOR, EXPIRED, FOREIGN)
    ]
    me = principal(spiffe.node_id(TD, "FR", "paris", "app-1"), ME)
    return compiler.compile_egress(parse.load({"test.cedar": POLICY}), me, facts)


def caller(peers: Peers, changes: Mapping[str, Any]) -> Running:
    mine = peers.pki.node("app-1", "paris", "FR", ME)
    return Running(peers.pki, mine, egress=rules(), peers=peers.known, **changes)


def to(peer: str, data_class: str | None = "1", *more: tuple[str, str], **how: Any) -> Attack:
    """One request of the application, with good claims but for the class."""
    claims = [TREATMENT, REGION, *([("writ-data-class", data_class)] if data_class else []), *more]
    return lambda s: s.send(f"{peer}.mesh", headers=claims, claims=False, **how)


def claiming(peer: str, *claims: tuple[str, str]) -> Attack:
    return lambda s: s.send(f"{peer}.mesh", headers=list(claims), claims=False)


def validating(change: Callable[[Any], None]) -> mutants.Patch:
    """Another validation of the peers' certificates."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = resources._peer_cluster

        def changed(peer: Peer, settings: Any) -> Any:
            made, context = real(peer, settings), tls_pb2.UpstreamTlsContext()
            made.transport_socket.typed_config.Unpack(context)
            change(context.common_tls_context.combined_validation_context.default_validation_context)
            made.transport_socket.typed_config.CopyFrom(pb.packed(context))
            return made

        monkeypatch.setattr(resources, "_peer_cluster", changed)

    return patch


def any_node(validation: Any) -> None:
    for name in validation.match_typed_subject_alt_names:
        name.matcher.prefix = f"spiffe://{TD}/"


def any_chain(validation: Any) -> None:
    validation.trust_chain_verification = validation.ACCEPT_UNTRUSTED


def ignore_revoked_callees(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gate.egress
    monkeypatch.setattr(gate, "egress", lambda floors, until, td, stamp: real({}, until, td, stamp))


def believe_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the application names is the peer that is decided on."""
    monkeypatch.setattr(listeners, "_strip", strip_nothing)
    mutants.script('if peer then headers:replace("writ-peer", peer) end', "")(monkeypatch)


IN_THE_EU = str(identity_of(EU))
CONTROLS = (
    Control(
        5,
        "caller: what may not leave does not",
        [
            ("class 4 to the US", to(US, "4")),
            ("class 3 to the US, as a completion", to(US, "3", path="/v1/completions")),
            ("an unsaid class, which is the ceiling", to(US, None)),
            ("class 4 to the US, streamed", to(US, "4", body=b'{"model":"ngram","stream":true}')),
        ],
        mutants.no_filter("forbids"),
    ),
    Control(
        5,
        "caller: nothing without a permit",
        [
            ("a model that the peer has not declared", to(EU, body=b'{"model":"secret"}')),
            ("an endpoint that is not in the table", to(EU, path="/v1/files")),
            ("a purpose that no policy permits", claiming(EU, ("writ-purpose", "research"), REGION)),
            ("a body with two models", to(EU, body=b'{"model":"ngram","model":"secret"}')),
            ("a peer that nobody knows", to("nobody.nowhere")),
        ],
        mutants.no_filter("permits"),
    ),
    Control(
        5,
        "caller: claims within its own certificate",
        [
            ("a purpose it does not have", claiming(EU, ("writ-purpose", "marketing"), REGION)),
            ("no purpose, where there are several", claiming(EU, REGION)),
            ("an empty purpose", claiming(EU, ("writ-purpose", ""), REGION)),
        ],
        mutants.script(
            'if not purpose or not find(subject, "OU=purpose:" .. purpose .. ",", 1, true) then return nil end',
            'purpose = "treatment"',
        ),
    ),
    Control(
        5,
        "caller: the peer is the route's",
        [
            ("class 4 to the US, as if to the EU", to(US, "4", ("writ-peer", IN_THE_EU))),
            ("class 4 to the US, with a verdict", to(US, "4", ("writ-verdict", "ok"))),
            ("class 4 to the US, by another spelling", to(US.upper(), "4")),
        ],
        believe_the_application,
    ),
    Control(
        5,
        "callee: exactly the node that was meant",
        [("another node of the mesh answers", to(IMPOSTOR))],
        validating(any_node),
    ),
    Control(
        5,
        "callee: certified by our node CA, and now",
        [("an expired callee", to(EXPIRED)), ("a callee of a foreign root", to(FOREIGN))],
        validating(any_chain),
    ),
    Control(
        8,
        "callee: not a revoked one",
        [("a revoked callee", to(EU))],
        ignore_revoked_callees,
        changes={"floors": {IN_THE_EU: None}},
    ),
)
