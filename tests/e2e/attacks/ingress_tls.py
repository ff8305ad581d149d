"""Who gets a connection to a callee's sidecar, and as whom: invariants 2 and 8."""

import dataclasses
import http.client
import socket
import ssl
import time

import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.ingress import ME, ask
from forge import Forged, name_of
from pki import Leaf, Pki
from sidecar import CALLER, Sidecar, tls

from agent.envoy import gate, listeners, pb
from agent.envoy.settings import EnvoySettings
from certs.profile import Profile

TLS = ("filter_chains", 0, "transport_socket", "typed_config")
VALIDATION = (*TLS, "common_tls_context", "combined_validation_context", "default_validation_context")
ANY_CHAIN = {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
REQUEST = b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def connects(leaf=None, context=None) -> Attack:
    """Is the caller let in at all? Whatever it is answered then."""

    def attack(s: Sidecar) -> bool:
        return s.ask(leaf(s) if leaf else None, context=context(s) if context else None).status != 0

    return attack


def plaintext(s: Sidecar) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status > 0
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()


def forged(**parts) -> Attack:
    """A certificate that our issuer would never make, signed by our own node CA."""
    return connects(lambda s: of(Forged(**{"subject": name_of(attributes=CALLER), **parts}), s.pki))


def of(made: Forged, pki: Pki, **signed_by) -> Leaf:
    return Leaf(made.key, made.der(pki, **signed_by), None)


def at(pki: Pki, now: int) -> Pki:
    """The same CAs at another time."""
    other = dataclasses.replace(pki)
    other.root, other.node_ca, other.cp_ca, other.now = pki.root, pki.node_ca, pki.cp_ca, now
    return other


def expired(s: Sidecar) -> Leaf:
    return at(s.pki, s.pki.now - 500).node("app-1", attributes=CALLER, profile=Profile(lifetime_s=60))


def of_its_own_key(s: Sidecar) -> Leaf:
    """Below the caller's own certificate: with the tier, groups and purposes it would like to have."""
    made = Forged(subject=name_of(attributes=dataclasses.replace(CALLER, tier=4)))
    return of(made, s.pki, issuer=s.caller.der, issuer_key=s.caller.key)


def resumed(s: Sidecar, ends_in_s: int) -> bool:
    """A session from before; `ends_in_s`: its certificate has ended since. Is it taken up again?"""
    leaf = at(s.pki, int(time.time()) - 60 + ends_in_s).node("app-1", profile=Profile(lifetime_s=60))
    context = tls(leaf if ends_in_s else s.caller)
    session, _ = _visit(s, context, None)
    while ends_in_s and time.time() < leaf.prepared.not_after:
        time.sleep(leaf.prepared.not_after - time.time() + 0.01)
    return session is not None and _visit(s, context, session)[1]


def _visit(s: Sidecar, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple:
    """(the session, whether it is the one that was offered and brought an answer)."""
    with (
        socket.create_connection(("127.0.0.1", s.port), timeout=10) as raw,
        context.wrap_socket(raw, session=session) as connection,
    ):
        try:
            connection.sendall(REQUEST)
            answer = connection.recv(65536)
            while connection.recv(65536):
                pass
        except OSError:
            return None, False
        return connection.session, connection.session_reused and bool(answer)


def also_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second chain without TLS, for whoever does not begin with a handshake."""
    real = listeners.ingress

    def changed(settings: EnvoySettings) -> dict:
        document = real(settings)
        (chain,) = document["filter_chains"]
        bare = {"filters": chain["filters"], "filter_chain_match": {"transport_protocol": "raw_buffer"}}
        chain["filter_chain_match"] = {"transport_protocol": "tls"}
        inspector = {"@type": listeners.TYPE + "filters.listener.tls_inspector.v3.TlsInspector"}
        named = {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
        return {**document, "filter_chains": [chain, bare], "listener_filters": [named]}

    monkeypatch.setattr(listeners, "ingress", changed)


def accept_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for a name asks for a certificate too: both must go."""
    mutants.listener("ingress", *TLS, "require_client_certificate", value=False)(monkeypatch)
    mutants.listener("ingress", *VALIDATION, value=ANY_CHAIN)(monkeypatch)


def ignore_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gate.ingress
    monkeypatch.setattr(gate, "ingress", lambda floors, until, td, stamp: real({}, until, td, stamp))


def several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pb, "none_of", lambda _item: pb.test(pb.URI_SAN, prefix="spiffe://"))


def resumption(kind: str) -> mutants.Patch:
    return mutants.listener("ingress", *TLS, f"disable_{kind}_session_resumption", value=False)


CONTROLS = (
    Control(
        2,
        "TLS: no plaintext",
        [("plaintext", plaintext)],
        also_plaintext,
    ),
    Control(
        2,
        "TLS: a client certificate",
        [("no certificate", connects(context=lambda s: tls(None)))],
        accept_nobody,
    ),
    Control(
        2,
        "TLS: 1.3 only",
        [("TLS 1.2", connects(context=lambda s: tls(s.caller, maximum=ssl.TLSVersion.TLSv1_2)))],
        mutants.listener(
            "ingress",
            *TLS,
            "common_tls_context",
            "tls_params",
            "tls_minimum_protocol_version",
            value="TLSv1_2",
        ),
    ),
    Control(
        2,
        "TLS: within its time",
        [
            ("expired", connects(expired)),
            (
                "not yet valid",
                connects(lambda s: at(s.pki, s.pki.now + 500).node("app-1", attributes=CALLER)),
            ),
        ],
        mutants.listener("ingress", *VALIDATION, value=ANY_CHAIN),
    ),
    Control(
        2,
        "TLS: issued by our node CA",
        [
            ("a foreign root", connects(lambda s: Pki(now=s.pki.now).node("app-1", attributes=CALLER))),
            ("a CA of the same name", connects(lambda s: Pki(now=s.pki.now, serial=s.pki.serial).node())),
            ("a control plane's certificate", connects(lambda s: s.pki.control_plane())),
        ],
        mutants.listener("ingress", *VALIDATION, value=ANY_CHAIN),
    ),
    Control(
        3,
        "TLS: a node signs nothing",
        [("a certificate of its own making", connects(of_its_own_key))],
        mutants.listener("ingress", *VALIDATION, value=ANY_CHAIN),
    ),
    Control(
        2,
        "TLS: our trust domain",
        [
            ("another trust domain", forged(uris=["spiffe://evil.example/fr/paris/app-1"])),
            ("a longer trust domain", forged(uris=["spiffe://acme.example.evil/fr/paris/app-1"])),
            ("no SPIFFE ID", forged(uris=["https://acme.example/fr/paris/app-1"])),
        ],
        mutants.listener("ingress", *VALIDATION, value={}),
    ),
    Control(
        2,
        "TLS: no resumption",
        [
            ("a resumed session", lambda s: resumed(s, 0)),
            ("a resumed session with an expired certificate", lambda s: resumed(s, 2)),
        ],
        mutants.both(resumption("stateless"), resumption("stateful")),
    ),
    Control(
        2,
        "gate: exactly one URI SAN",
        [
            (
                "two URI SANs",
                lambda s: (
                    s.ask(
                        of(
                            Forged(
                                uris=[ME, "spiffe://acme.example/fr/paris/admin"],
                                subject=name_of(attributes=CALLER),
                            ),
                            s.pki,
                        )
                    ).allowed
                ),
            )
        ],
        several_names,
    ),
    Control(
        8,
        "gate: floors",
        [
            ("a revoked node", ask()),
            ("an epoch below the floor", lambda s: s.ask(s.pki.node("app-3", attributes=CALLER)).allowed),
        ],
        ignore_floors,
        changes={"floors": {ME: None, "spiffe://acme.example/fr/paris/app-3": 2}},
    ),
)
