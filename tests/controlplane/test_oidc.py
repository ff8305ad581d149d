"""Operators who show tokens: a real control plane, a real issuer over HTTPS, and every way to bend a token that we know."""

import hashlib
import hmac
import json
import ssl
import subprocess
import time
import urllib.request

import grpc
import pytest
from clients import authorities_of, operator
from commands import WRIT, writ
from cryptography.hazmat.primitives import serialization
from issuer import CLIENT, Issuer, jwk, signed
from jwts import b64, part

from agent import identity
from certs import id_token, jwk_set, keys
from certs.errors import TokenError
from certs.id_token import Expected
from controlplane.api.gen import admin_pb2, admin_pb2_grpc, identity_pb2, identity_pb2_grpc
from controlplane.api.https import Https
from controlplane.cli import evidence
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.cli.errors import Exit
from controlplane.errors import UnavailableError
from controlplane.oidc import issuer as issuers
from controlplane.oidc.issuer import IssuerKeys, Source

pytestmark = pytest.mark.timeout(90)
DENIED = grpc.StatusCode.PERMISSION_DENIED
ROLES = """
[[oidc.roles]]
group = "admins"
role = "admin"
[[oidc.roles]]
group = "readers"
role = "auditor"
sites = ["paris"]
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    made = Issuer(tmp_path_factory.mktemp("oidc") / "issuer")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, issuer):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        settings = f'[oidc]\nissuer = "{issuer.url}"\nclient_id = "{CLIENT}"\nca_file = "{issuer.ca}"\nlisten = "127.0.0.1:0"\n'
        with (made.directory / "controlplane.toml").open("a") as file:
            file.write(settings + ROLES)
        made.start_control_plane()
        for site, where in (("paris", "FR"), ("berlin", "DE")):
            made.site(site, where)
        yield made


def port(mesh: Mesh) -> int:
    return json.loads((mesh.directory / "controlplane" / "ports.json").read_text())["operators"]


def channel(mesh: Mesh) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(mesh.context().ca.read_bytes())
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    return grpc.secure_channel(f"127.0.0.1:{port(mesh)}", credentials, options)


def shown(mesh: Mesh, *metadata: tuple[str, str], method: str = "AddSite", request=None):
    """The answer, or (status, why)."""
    request = request or admin_pb2.Site(name="rome", jurisdiction="IT")
    with channel(mesh) as open_:
        try:
            return getattr(admin_pb2_grpc.AdminStub(open_), method)(request, metadata=metadata, timeout=20)
        except grpc.RpcError as exc:
            return exc.code(), exc.details()


def bearing(mesh: Mesh, token: str, **more):
    return shown(mesh, ("authorization", f"Bearer {token}"), **more)


def sites(mesh: Mesh) -> set[str]:
    return {site.name for site in mesh.call("ListSites", admin_pb2.ListSitesRequest()).sites}


# --- who may ----------------------------------------------------------------------------------------------------------


def test_either_algorithm_lets_in_and_groups_make_the_role(mesh, issuer) -> None:
    listing = {"method": "ListSites", "request": admin_pb2.ListSitesRequest()}
    for key in (issuer.ec, issuer.rsa):
        assert {s.name for s in bearing(mesh, issuer.token(key), **listing).sites} == {"paris", "berlin"}
    reader = issuer.token(groups=["others", "readers"])
    assert {s.name for s in bearing(mesh, reader, **listing).sites} == {"paris"}
    assert bearing(mesh, reader) == (DENIED, "`oidc:anna` is auditor, and `AddSite` is for admin")
    for groups in (["others"], [], None):
        assert bearing(mesh, issuer.token(groups=groups)) == (
            DENIED,
            "`oidc:anna` is in no group that has a role",
        )
    assert bearing(mesh, issuer.token(groups="admins"))[0] is DENIED


def test_the_port_for_tokens_opens_nothing_without_one(mesh) -> None:
    for metadata in (
        (),
        (("authorization", ""),),
        (("authorization", "Basic YTpi"),),
        (("authorization", "bearer x"),),
    ):
        assert shown(mesh, *metadata) == (DENIED, "one bearer token is required")
    with channel(mesh) as open_, pytest.raises(grpc.RpcError) as caught:
        identity_pb2_grpc.IdentityStub(open_).Renew(identity_pb2.RenewRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_two_tokens_are_none_and_a_token_is_nothing_to_the_port_for_certificates(mesh, issuer) -> None:
    good = ("authorization", f"Bearer {issuer.token()}")
    assert shown(mesh, good, good) == (DENIED, "one bearer token is required")
    with operator(mesh) as open_:  # a certificate counts there, whatever else is shown
        answer = admin_pb2_grpc.AdminStub(open_).ListOperators(
            admin_pb2.ListOperatorsRequest(), metadata=(("authorization", "Bearer x"),), timeout=10
        )
    assert [one.name for one in answer.operators] == ["admin"]


def test_a_certificate_of_the_mesh_is_no_token(mesh) -> None:
    """The mesh's own JWT key signs for workloads: nothing that it signs makes an operator."""
    made = authorities_of(mesh)
    assert bearing(mesh, identity.pem(made.root).decode().replace("\n", ""))[0] is DENIED


# --- bent tokens ------------------------------------------------------------------------------------------------------


def hmac_with_the_public_key(issuer: Issuer) -> str:
    public = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"{part({'alg': 'HS256', 'kid': 'rsa-1'})}.{part(issuer.claims())}"
    return f"{text}.{b64(hmac.new(public, text.encode(), hashlib.sha256).digest())}"


def spelled_twice(issuer: Issuer) -> str:
    """The same bytes with unused bits set in the last character."""
    text = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


OTHER = keys.generate_p256()
ATTACKS = {
    "no algorithm": lambda i: f"{part({'alg': 'none', 'kid': 'ec-1'})}.{part(i.claims())}.",
    "no algorithm, with a signature": lambda i: i.token(head={"alg": "none"}),
    "none in another case": lambda i: i.token(head={"alg": "nOnE"}),
    "hmac with the public key": hmac_with_the_public_key,
    "an RSA key for ES256": lambda i: i.token(i.rsa, head={"alg": "ES256"}),
    "an EC key for RS256": lambda i: i.token(head={"alg": "RS256"}),
    "an EC key id in an RSA token": lambda i: i.token(i.rsa, head={"kid": "ec-1"}),
    "an algorithm that is no text": lambda i: i.token(head={"alg": ["ES256"]}),
    "PS256": lambda i: i.token(i.rsa, head={"alg": "PS256"}),
    "a key set to fetch": lambda i: i.token(OTHER, head={"jku": "https://evil.example/jwks.json"}),
    "a certificate to fetch": lambda i: i.token(OTHER, head={"x5u": "https://evil.example/x.pem"}),
    "a certificate inside": lambda i: i.token(OTHER, head={"x5c": ["AAAA"]}),
    "a key inside": lambda i: i.token(OTHER, head={"jwk": jwk(OTHER, "ec-1")}),
    "critical headers": lambda i: i.token(head={"crit": ["exp"]}),
    "not base64 inside": lambda i: i.token(head={"b64": False}),
    "nested": lambda i: i.token(head={"cty": "JWT"}),
    "a token of a token": lambda i: signed({"alg": "ES256", "kid": "ec-1"}, i.token().encode(), i.ec),
    "another type": lambda i: i.token(head={"typ": "at+jwt"}),
    "a key id that is a path": lambda i: i.token(OTHER, head={"kid": "../../../../dev/null"}),
    "a key id that is a query": lambda i: i.token(OTHER, head={"kid": "' OR 1=1 --"}),
    "a key id that is no text": lambda i: i.token(head={"kid": 1}),
    "a key id that is a list": lambda i: i.token(head={"kid": ["ec-1"]}),
    "no key id": lambda i: signed({"alg": "ES256"}, i.claims(), i.ec),
    "an unknown key": lambda i: i.token(OTHER, head={"kid": "ec-9"}),
    "another key under a known id": lambda i: i.token(OTHER),
    "no end": lambda i: i.token(exp=None),
    "ended": lambda i: i.token(exp=int(time.time()) - 1),
    "an end that is text": lambda i: i.token(exp="9999999999"),
    "an end that is a truth": lambda i: i.token(exp=True),
    "an endless end": lambda i: i.token(exp=1e300),
    "not yet": lambda i: i.token(nbf=int(time.time()) + 600),
    "issued long ago": lambda i: i.token(iat=int(time.time()) - 3700),
    "issued in the future": lambda i: i.token(iat=int(time.time()) + 600),
    "not said when issued": lambda i: i.token(iat=None),
    "ten minutes ahead": lambda i: i.token(iat=int(time.time()) + 600, exp=int(time.time()) + 1200),
    "400 days old": lambda i: i.token(iat=int(time.time()) - 400 * 86400, exp=int(time.time()) + 60),
    "no audience": lambda i: i.token(aud=None),
    "an empty audience": lambda i: i.token(aud=[]),
    "another audience": lambda i: i.token(aud="another"),
    "an audience that begins alike": lambda i: i.token(aud="writ-staging"),
    "an audience that is no text": lambda i: i.token(aud=[["writ"]]),
    "given to another client": lambda i: i.token(aud=["writ", "app"], azp="app"),
    "no issuer": lambda i: i.token(iss=None),
    "another issuer": lambda i: i.token(iss="https://evil.example"),
    "an issuer with a slash": lambda i: i.token(iss=i.url + "/"),
    "no subject": lambda i: i.token(sub=None),
    "an empty subject": lambda i: i.token(sub=""),
    "a subject that is a number": lambda i: i.token(sub=1),
    "a subject that drives a terminal": lambda i: i.token(sub="\x1b[2J"),
    "groups that are text": lambda i: i.token(groups="admins"),
    "groups that are objects": lambda i: i.token(groups=[{"name": "admins"}]),
    "too many groups": lambda i: i.token(groups=["admins"] * 1001),
    "a claim twice": lambda i: signed(
        {"alg": "ES256", "kid": "ec-1"}, json.dumps(i.claims()).replace("{", '{"sub":"eve",', 1).encode(), i.ec
    ),
    "a header twice": lambda i: signed(b'{"alg":"ES256","alg":"none","kid":"ec-1"}', i.claims(), i.ec),
    "claims that are no object": lambda i: signed({"alg": "ES256", "kid": "ec-1"}, ["admins"], i.ec),
    "claims without bottom": lambda i: signed({"alg": "ES256", "kid": "ec-1"}, b"[" * 3000, i.ec),
    "huge": lambda i: i.token(padding="x" * 11_000),
    "two parts": lambda i: i.token().rpartition(".")[0],
    "five parts": lambda i: i.token() + ".a.b",
    "padded": lambda i: i.token() + "==",
    "another spelling of the signature": spelled_twice,
    "a signature of nothing": lambda i: i.token().rpartition(".")[0] + "." + b64(bytes(64)),
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
    "a changed claim": lambda i: ".".join(
        (i.token().split(".")[0], part(i.claims(sub="eve")), i.token().split(".")[2])
    ),
    "empty": lambda _: "",
}  # fmt: skip


def test_every_bent_token_is_refused_by_a_typed_error_and_nothing_changes(mesh, issuer) -> None:
    before = sites(mesh)
    for name, attack in ATTACKS.items():
        code, why = bearing(mesh, attack(issuer))
        assert code is DENIED, name
        assert why.startswith(("not an operator: ", "one bearer token", "`oidc:")), name
    assert sites(mesh) == before == {"paris", "berlin"}
    assert not isinstance(
        bearing(mesh, issuer.token(), method="ListSites", request=admin_pb2.ListSitesRequest()), tuple
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_is_stopped_by_the_verifier_itself(issuer, name) -> None:
    """Not by the transport: over the wire an oversized or empty header may end earlier."""
    listed = jwk_set.read((issuer.directory / "jwks.json").read_bytes(), id_token.ALGORITHMS)
    expected = Expected(issuer=issuer.url, client_id=CLIENT, groups_claim="groups", max_age_s=3600)
    now = int(time.time())
    assert id_token.verify(issuer.token(), listed, expected, now).subject == "anna"
    with pytest.raises(TokenError):
        id_token.verify(ATTACKS[name](issuer), listed, expected, now)


# --- the issuer -------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def source_of(issuer: Issuer) -> Source:
    return Source(issuer=issuer.url, algorithms=id_token.ALGORITHMS, elsewhere=True)


@pytest.fixture
def source(issuer):
    clock = Clock()
    issuer.says()
    issuer.serves(jwk(issuer.ec, "ec-1"))
    yield IssuerKeys(source_of(issuer), Https(issuer.ca), clock), clock
    issuer.says()
    issuer.serves(jwk(issuer.ec, "ec-1"), jwk(issuer.rsa, "rsa-1"))


async def test_a_new_key_is_found_and_strangers_cannot_make_us_ask_for_ever(issuer, source) -> None:
    keys_of, clock = source
    assert set(await keys_of.keys("ec-1")) == {"ec-1"}
    issuer.serves(jwk(issuer.ec, "ec-1"), jwk(OTHER, "ec-2"))
    assert set(await keys_of.keys("ec-2")) == {"ec-1"}  # asked too recently
    clock.now += issuers.PAUSE_S + 1
    assert set(await keys_of.keys("ec-2")) == {"ec-1", "ec-2"}


async def test_a_key_that_is_withdrawn_is_believed_no_longer_than_it_is_fresh(issuer, source) -> None:
    keys_of, clock = source
    await keys_of.keys("ec-1")
    issuer.serves(jwk(OTHER, "ec-2"))
    clock.now += issuers.FRESH_S + 1
    assert set(await keys_of.keys("ec-1")) == {"ec-2"}


async def test_an_issuer_that_is_away_is_forgiven_for_a_while_and_then_nobody_is_let_in(
    issuer, source
) -> None:
    keys_of, clock = source
    await keys_of.keys("ec-1")
    (issuer.directory / "jwks.json").unlink()
    clock.now += issuers.KEPT_S - 1
    assert set(await keys_of.keys("ec-1")) == {"ec-1"}
    clock.now += 2
    with pytest.raises(UnavailableError, match="cannot be had"):
        await keys_of.keys("ec-1")
    issuer.serves(jwk(issuer.ec, "ec-1"))
    clock.now += issuers.PAUSE_S + 1
    assert set(await keys_of.keys("ec-1")) == {"ec-1"}


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://localhost/jwks.json"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user@localhost/jwks.json"},
        {"jwks_uri": None},
        {"jwks_uri": "MOVED"},
        {"jwks_uri": "https://localhost:1/jwks.json"},
    ],
)
async def test_a_discovery_document_that_points_elsewhere_gives_no_keys(issuer, source, change) -> None:
    keys_of, _ = source
    issuer.says(**{k: f"{issuer.url}/moved" if v == "MOVED" else v for k, v in change.items()})
    with pytest.raises(UnavailableError):
        await keys_of.keys("ec-1")


async def test_an_endless_key_set_and_an_issuer_of_another_ca_give_no_keys(issuer, source, tmp_path) -> None:
    keys_of, _ = source
    (issuer.directory / "jwks.json").write_bytes(b" " * (300 << 10) + b'{"keys": []}')
    with pytest.raises(UnavailableError):
        await keys_of.keys("ec-1")
    issuer.serves(jwk(issuer.ec, "ec-1"))
    with pytest.raises(UnavailableError):
        await IssuerKeys(source_of(issuer), Https(None)).keys("ec-1")


# --- signing in -------------------------------------------------------------------------------------------------------


def test_signing_in_by_the_device_flow_and_what_is_recorded(mesh, issuer, tmp_path) -> None:
    issuer.groups("readers")
    config = tmp_path / "home" / "config.toml"
    words = ["login", "--issuer", issuer.url, "--client-id", CLIENT, "--address", f"127.0.0.1:{port(mesh)}"]
    words += ["--trust-domain", TRUST_DOMAIN, "--ca", str(mesh.context().ca), "--issuer-ca", str(issuer.ca)]
    process = subprocess.Popen(
        [WRIT, *words], env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "WRIT_CONFIG": str(config)}, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stderr is not None
    assert "enter WRIT-1234" in process.stderr.readline()
    trusted = ssl.create_default_context(cafile=str(issuer.ca))
    urllib.request.urlopen(f"{issuer.url}/enter?code=WRIT-1234", context=trusted).read()
    assert "signed in until" in process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in config.parent.iterdir())
    assert json.loads(writ("site", "list", "-o", "json", config=config).stdout)[0]["name"] == "paris"
    refused = writ("site", "add", "rome", "--jurisdiction", "IT", config=config)
    assert (refused.returncode, "`oidc:anna` is auditor" in refused.stderr) == (Exit.DENIED, True)
    again = writ("login", config=config)
    assert again.returncode == 0, again.stderr
    assert bearing(mesh, issuer.token(OTHER))[0] is DENIED
    mesh.control_plane.kill(15)
    calls = evidence.calls([mesh.directory / "controlplane" / "evidence"])
    rome = [(c["operator"], c["call"], c["outcome"]) for c in calls if c["target"] == "rome"]
    assert ("oidc:anna", "AddSite", "denied") in rome
    assert any(c["operator"] == "" and c["reason"].startswith("not an operator") for c in calls)
    assert all("eyJ" not in json.dumps(c) for c in calls)  # no token is ever written
