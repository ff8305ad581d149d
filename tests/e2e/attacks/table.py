"""Controls of the sidecar, the attacks on each, and how each is switched off. Data for `test_sidecar.py`."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pki import Leaf, Pki
from sidecar import CALLER, Answer, Sidecar, tls

from agent.envoy import authorize, classifier, gate, listeners, pb, resources
from agent.envoy.actions import Stamp
from agent.envoy.dataplane import DataPlane
from certs import keys, template
from certs.attributes import Attributes, subject
from certs.profile import Profile
from certs.spiffe import node_id

Send = Callable[[Sidecar], Answer]
Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Control:
    """One thing that stops attacks. `changes` are of the state all its attacks run in; `connects`: refused at TLS."""

    invariant: int
    name: str
    attacks: Sequence[tuple[str, Send]]
    switch_off: Patch
    changes: dict[str, Any] = field(default_factory=dict)
    connects: bool = True

    def stopped(self, answer: Answer) -> bool:
        return not answer.allowed if self.connects else answer.status == 0


def script(*changes: str) -> Patch:
    """Change the classifier: old, new, and so on."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = classifier.source(egress=False)
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in whole
            whole = whole.replace(old, new)
        monkeypatch.setattr(classifier, "source", lambda *, egress: whole)

    return patch


WRITE_ALL = ("if given ~= value then headers:replace(name, value) end", "headers:replace(name, value)")


def config(*path: str | int, value: Any) -> Patch:
    """Change the ingress listener: a place in its document."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = listeners.ingress

        def changed(settings: Any) -> dict[str, Any]:
            document = real(settings)
            place = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            return document

        monkeypatch.setattr(listeners, "ingress", changed)

    return patch


TLS = ("filter_chains", 0, "transport_socket", "typed_config")
VALIDATION = (*TLS, "common_tls_context", "combined_validation_context", "default_validation_context")


def no_filter(name: str) -> Patch:
    """Let one of the two rule filters allow everything."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def everything(_rules: object, _peers: object, stamp: Stamp) -> Any:
            return authorize.RBAC(matcher=pb.always(pb.act(stamp.name("allow"), allow=True)))

        monkeypatch.setattr(authorize, name, everything)

    return patch


def chat(body: bytes) -> Send:
    return lambda s: s.ask(body=body)


def claim(*headers: tuple[str, str], **attributes: Any) -> Send:
    """Claims, and perhaps other attributes in the caller's certificate."""

    def send(s: Sidecar) -> Answer:
        leaf = s.pki.node("app-2", attributes=replace(CALLER, **attributes)) if attributes else s.caller
        return s.ask(leaf, headers=list(headers), claims=False)

    return send


GOOD = (("writ-purpose", "treatment"), ("writ-data-class", "1"), ("writ-subject-region", "fr"))


def forged(*names: tuple[str, str]) -> Send:
    return lambda s: s.ask(body=b'{"model":"secret"}', headers=list(names))


def odd_leaf(pki: Pki, uris: list[str], epoch: int = 1, attributes: Attributes = CALLER) -> Leaf:
    """A certificate that our issuing would never make, signed by our own node CA: what a stolen CA could do."""
    key = keys.generate_p256()
    ca = x509.load_der_x509_certificate(pki.node_ca)
    builder = x509.CertificateBuilder().issuer_name(ca.subject).public_key(key.public_key()).serial_number(77)
    builder = builder.subject_name(
        subject(node_id(pki.trust_domain, "FR", "paris", "app-1"), epoch, attributes)
    )
    builder = builder.not_valid_before(datetime.fromtimestamp(pki.now - 60, UTC))
    builder = builder.not_valid_after(datetime.fromtimestamp(pki.now + 600, UTC))
    for extension, critical in template.leaf_extensions(ca):
        builder = builder.add_extension(extension, critical)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    cert = builder.add_extension(names, critical=False).sign(pki.node_ca_key, hashes.SHA256())
    return Leaf(key, cert.public_bytes(serialization.Encoding.DER), None)  # type: ignore[arg-type]


ME = "spiffe://acme.example/fr/paris/app-1"


def expired(s: Sidecar) -> Answer:
    past = replace_now(s.pki, s.pki.now - 500)
    return s.ask(past.node("app-1", attributes=CALLER, profile=Profile(lifetime_s=60)))


def not_yet(s: Sidecar) -> Answer:
    return s.ask(replace_now(s.pki, s.pki.now + 500).node("app-1", attributes=CALLER))


def replace_now(pki: Pki, now: int) -> Pki:
    """The same CAs at another time."""
    other = Pki(now=pki.now, root_key=pki.root_key, node_ca_key=pki.node_ca_key, cp_ca_key=pki.cp_ca_key)
    other.root, other.node_ca, other.cp_ca = pki.root, pki.node_ca, pki.cp_ca
    other.now = now
    return other


def foreign(s: Sidecar) -> Answer:
    return s.ask(Pki(now=s.pki.now).node("app-1", attributes=CALLER))


def self_signed_ca_of_same_name(s: Sidecar) -> Answer:
    other = Pki(now=s.pki.now, serial=s.pki.serial)
    return s.ask(other.node())


def resumed(s: Sidecar) -> Answer:
    """Does a second handshake resume the first session?"""
    import socket

    context = tls(s.caller)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    session = None
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", s.port)) as raw:
            connection = context.wrap_socket(raw, session=session)
            connection.sendall(
                b"GET /v1/models HTTP/1.1\r\nHost: x\r\nwrit-purpose: treatment\r\nConnection: close\r\n\r\n"
            )
            while connection.recv(65536):
                pass
            session, reused = connection.session, connection.session_reused
            connection.close()
    return Answer(200 if reused else 0, "")


def accept_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    config(*VALIDATION, value={"trust_chain_verification": "ACCEPT_UNTRUSTED"})(monkeypatch)


def accept_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for a name asks for a certificate too: both must go."""
    config(*TLS, "require_client_certificate", value=False)(monkeypatch)
    config(*VALIDATION, value={"trust_chain_verification": "ACCEPT_UNTRUSTED"})(monkeypatch)


def ignore_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gate.ingress
    monkeypatch.setattr(gate, "ingress", lambda floors, until, td, stamp: real({}, until, td, stamp))


def ignore_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_leased", lambda until, stamp: pb.act(stamp.name("pass"), allow=True))
    monkeypatch.setattr(DataPlane, "_closed", lambda *_args, **_kw: None)


def ignore_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataPlane, "_closed", lambda *_args, **_kw: None)


def several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pb, "none_of", lambda _item: pb.test(pb.URI_SAN, prefix="spiffe://"))


def believe_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither strip what comes, nor classify: then whoever writes the headers decides."""
    monkeypatch.setattr(
        listeners,
        "_strip",
        lambda keep: {
            **real_strip(keep),
            "typed_config": {"@type": KIND, "mutations": [{"remove": "x-none"}]},
        },
    )
    monkeypatch.setattr(
        classifier,
        "source",
        lambda *, egress: "function envoy_on_request(handle) handle:clearRouteCache() end",
    )


real_strip = listeners._strip
KIND = listeners.TYPE + "http.early_header_mutation.header_mutation.v3.HeaderMutation"
ALL_HEADERS = (
    ("writ-verdict", "ok"),
    ("writ-action", "chat"),
    ("writ-resource", "Model/ngram"),
    ("writ-path", "/v1/chat/completions"),
    ("writ-protocol", "openai"),
    ("writ-body", "read"),
    ("writ-stream", "false"),
)
assert resources.LUA

CONTROLS = (
    Control(
        1,
        "permits: nothing without one",
        [
            ("a model that is not declared", chat(b'{"model":"secret"}')),
            ("a purpose no policy permits", claim(("writ-purpose", "research"), *GOOD[1:])),
            ("a class no policy permits", claim(GOOD[0], ("writ-data-class", "3"), GOOD[2])),
            ("an endpoint that is not in the table", lambda s: s.ask(path="/v1/files")),
            ("a method that is not in the table", lambda s: s.ask(method="PUT")),
            ("another group", claim(*GOOD, groups=frozenset({"finance"}))),
            ("a path that climbs to it", lambda s: s.ask(path="/v1/chat/../files")),
            ("a doubled slash", lambda s: s.ask(path="//v1/files")),
        ],
        no_filter("permits"),
    ),
    Control(
        1,
        "lease: act only on fresh word",
        [("a request after the lease", lambda s: s.ask())],
        ignore_time,
        changes={"lease_s": -5},
    ),
    Control(
        11,
        "gate: no record, no request",
        [("a request while evidence cannot be written", lambda s: s.ask())],
        ignore_recording,
        changes={"recording": False},
    ),
    Control(
        2,
        "TLS: a client certificate",
        [("no certificate", lambda s: s.ask(context=tls(None)))],
        accept_nobody,
        connects=False,
    ),
    Control(
        2,
        "TLS: 1.3 only",
        [("TLS 1.2", lambda s: s.ask(context=tls(s.caller, maximum=ssl.TLSVersion.TLSv1_2)))],
        config(*TLS, "common_tls_context", "tls_params", "tls_minimum_protocol_version", value="TLSv1_2"),
        connects=False,
    ),
    Control(
        2,
        "TLS: within its time",
        [("expired", expired), ("not yet valid", not_yet)],
        config(*VALIDATION, "trust_chain_verification", value="ACCEPT_UNTRUSTED"),
        connects=False,
    ),
    Control(
        2,
        "TLS: issued by our node CA",
        [
            ("a foreign root", foreign),
            ("a CA of the same name", self_signed_ca_of_same_name),
            ("a control plane's certificate", lambda s: s.ask(s.pki.control_plane())),
        ],
        accept_foreign,
        connects=False,
    ),
    Control(
        2,
        "TLS: our trust domain",
        [
            (
                "another trust domain",
                lambda s: s.ask(odd_leaf(s.pki, ["spiffe://evil.example/fr/paris/app-1"])),
            )
        ],
        config(*VALIDATION, value={}),
        connects=False,
    ),
    Control(
        2,
        "TLS: no resumption",
        [("a resumed session", resumed)],
        lambda m: (
            config(*TLS, "disable_stateless_session_resumption", value=False)(m),
            config(*TLS, "disable_stateful_session_resumption", value=False)(m),
        )[0],
        connects=False,
    ),
    Control(
        2,
        "gate: exactly one URI SAN",
        [("two URI SANs", lambda s: s.ask(odd_leaf(s.pki, [ME, "spiffe://acme.example/fr/paris/admin"])))],
        several_names,
    ),
    Control(
        8,
        "gate: floors",
        [
            ("a revoked node", lambda s: s.ask()),
            ("an epoch below the floor", lambda s: s.ask(s.pki.node("app-3", attributes=CALLER))),
        ],
        ignore_floors,
        changes={"floors": {ME: None, "spiffe://acme.example/fr/paris/app-3": 2}},
    ),
    Control(
        4,
        "claims: purpose in the certificate",
        [
            (
                "a purpose it does not have",
                claim(("writ-purpose", "treatment"), *GOOD[1:], purposes=frozenset({"research"})),
            ),
            ("a purpose that is a part of one", claim(("writ-purpose", "treat"), *GOOD[1:])),
            ("an empty purpose", claim(("writ-purpose", ""), *GOOD[1:])),
        ],
        script(
            'if not purpose or not find(subject, "OU=purpose:" .. purpose .. ",", 1, true) then return nil end',
            'if not purpose then return nil end purpose = "treatment"',
        ),
    ),
    Control(
        4,
        "claims: class raised to the floor",
        [
            (
                "an understated class",
                claim(GOOD[0], ("writ-data-class", "0"), GOOD[2], class_floor=3, class_ceiling=3),
            )
        ],
        script("if class < floor then class = floor end", ""),
    ),
    Control(
        4,
        "claims: class at most the ceiling",
        [
            (
                "a class above the ceiling",
                claim(GOOD[0], ("writ-data-class", "2"), GOOD[2], class_floor=0, class_ceiling=1),
            )
        ],
        script("if class > ceiling then return nil end", ""),
    ),
    Control(
        4,
        "claims: region in the certificate",
        [("a region it does not have", claim(*GOOD[:2], ("writ-subject-region", "de")))],
        script(
            'if region and not find(subject, "OU=region:" .. region .. ",", 1, true) then return nil end', ""
        ),
    ),
    Control(
        4,
        "claims: region required of several",
        [("no region", claim(*GOOD[:2]))],
        script("if area == false then return nil end", "area = nil"),
    ),
    Control(
        4,
        "claims: one value each",
        [
            ("a second purpose", lambda s: s.ask(headers=[("writ-purpose", "research")])),
            ("a second class", lambda s: s.ask(headers=[("writ-data-class", "0")])),
            ("a second region", lambda s: s.ask(headers=[("writ-subject-region", "us")])),
        ],
        script("local claim = headers:get(name)", "local claim = headers:getAtIndex(name, 0)", *WRITE_ALL),
    ),
    Control(
        4,
        "claims: grammar",
        [
            ("obs-text", claim(("writ-purpose", "treatment\xff"), *GOOD[1:])),
            ("a class of two digits", claim(GOOD[0], ("writ-data-class", "01"), GOOD[2])),
            ("a class with a sign", claim(GOOD[0], ("writ-data-class", "+1"), GOOD[2])),
        ],
        script(
            'return claim, #claim >= 1 and #claim <= 48 and not find(claim, "[^a-z0-9-]")',
            'return string.gsub(claim, "[^a-z1-9-]", ""), true',
            *WRITE_ALL,
        ),
    ),
    Control(
        6,
        "forbids: win over permits",
        [("a forbidden region", claim(*GOOD[:2], ("writ-subject-region", "us")))],
        no_filter("forbids"),
    ),
    Control(
        1,
        "body: no duplicate keys",
        [
            ("wanted first", chat(b'{"model":"ngram","model":"secret"}')),
            ("wanted last", chat(b'{"model":"secret","model":"ngram"}')),
        ],
        script("if key ~= folded or seen[key] then return nil end", "if key ~= folded then return nil end"),
    ),
    Control(
        1,
        "body: no keys that fold into a wanted one",
        [
            ("upper case first", chat(b'{"MODEL":"secret","model":"ngram"}')),
            ("upper case last", chat(b'{"model":"ngram","Model":"secret"}')),
        ],
        script("local folded = lower(key)", "local folded = key"),
    ),
    Control(
        1,
        "body: no second spelling of a key",
        [
            ("an escaped key", chat(b'{"mod\\u0065l":"secret","model":"ngram"}')),
            ("a letter that folds", chat('{"\u017ftream":true,"model":"ngram"}'.encode())),
            ("an overlong letter", chat(b'{"\xc1\xadodel":"secret","model":"ngram"}')),
        ],
        script('if find(key, "[^ -~]") or find(key, "\\\\", 1, true) then return nil end', ""),
    ),
    Control(
        1,
        "body: a stream that lenient servers read otherwise",
        [("true as a string", chat(b'{"model":"ngram","stream":"true"}'))],
        script('if key == "stream" and type(found[key]) == "string" then return nil end', ""),
    ),
    Control(
        1,
        "body: no other charset",
        [("UTF-7", lambda s: s.ask(headers=[("content-type", "application/json; charset=utf-7")]))],
        script('if find(kind, "charset", 1, true)', "if false"),
    ),
    Control(
        1,
        "body: nothing after the object",
        [
            ("a second object", chat(b'{"model":"ngram"}{"model":"secret"}')),
            ("trailing text", chat(b'{"model":"ngram"} x')),
        ],
        script("return i == #s + 1 and found or nil", "return found"),
    ),
    Control(
        1,
        "body: nothing before the object",
        [("a byte order mark", chat(b'\xef\xbb\xbf{"model":"ngram"}'))],
        script(
            "local i, c = skip(s, 1)\n  if c ~= 123",
            'local i, c = skip(s, find(s, "{", 1, true) or 1)\n  if c ~= 123',
        ),
    ),
    Control(
        1,
        "body: no content encoding",
        [("gzip", lambda s: s.ask(headers=[("content-encoding", "gzip")]))],
        script('if headers:get("content-encoding") ~= nil then return nil end', ""),
    ),
    Control(
        1,
        "body: valid to its end",
        [
            ("unbalanced", chat(b'{"model":"ngram","x":[1,2}')),
            ("too deep", chat(b'{"model":"ngram","x":' + b"[" * 100 + b"]" * 100 + b"}")),
            ("an unterminated string", chat(b'{"model":"ngram","x":"y}')),
            ("not JSON", chat(b"model=ngram")),
            ("an array", chat(b'[{"model":"ngram"}]')),
            ("empty", chat(b"")),
            ("no body", lambda s: s.ask(body=None)),
            ("an escaped value", chat(b'{"model":"ngr\\u0061m"}')),
            ("a number", chat(b'{"model":1}')),
            ("only a nested one", chat(b'{"x":{"model":"ngram"}}')),
        ],
        script("local found = text and scan(text, wanted)", 'local found = {model = "ngram"}'),
    ),
    Control(
        12,
        "body: within its bound",
        [("2 MiB where 1 MiB is allowed", chat(b'{"model":"ngram","x":"' + b"y" * (2 << 20) + b'"}'))],
        config("per_connection_buffer_limit_bytes", value=8 << 20),
    ),
    Control(
        2,
        "headers: sidecar-only ones are ours",
        [
            ("a forged verdict and resource", forged(*ALL_HEADERS)),
            ("a forged resource", forged(("writ-resource", "Model/ngram"))),
            ("a forged client certificate", forged(("x-forwarded-client-cert", f"URI={ME}"))),
            ("underscores for dashes", forged(("writ_resource", "Model/ngram"))),
        ],
        believe_headers,
    ),
)
