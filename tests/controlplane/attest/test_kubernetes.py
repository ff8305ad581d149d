"""Service-account tokens as an attestor, with a real issuer: whose tokens count, and what happens when it is away."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from apiserver import ApiServer, b64url, key_id
from ca import Ca
from conformance.attest import AttestConformance, request
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs import jws
from certs.attributes import Attributes
from controlplane.api import https
from controlplane.api.https import Https
from controlplane.attest import naming
from controlplane.attest.base import KUBERNETES, Evidence
from controlplane.attest.kubernetes import SOURCES, Accepted, Kubernetes, Reviewer
from controlplane.errors import InvalidError, NotAttestedError, UnavailableError
from controlplane.oidc.issuer import FRESH_S, KEPT_S, PAUSE_S, IssuerKeys, Source

ISSUER = "https://kubernetes.default.svc.cluster.local"
OTHER_KEY = rsa.generate_private_key(65537, 2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = ApiServer(tmp_path_factory.mktemp("cluster") / "api", issuer=ISSUER)
    yield made
    made.stop()


class Pod:
    """A pod of the cluster, and the attestor that knows its API server."""

    says = (KUBERNETES, "llama-1", "berlin", 2)

    def __init__(self, server: ApiServer, *, match: str = "pod={node}", review: bool = True) -> None:
        self.server = server
        server.mood("")
        self.now = int(server.claims()["iat"])
        self.elapsed = 0.0
        self.https = Https(server.ca_file, origin=server.url, token_file=server.client_token)
        source = Source(issuer=ISSUER, algorithms=jws.ALGORITHMS, server=server.url)
        self.keys = IssuerKeys(source, self.https, clock=lambda: self.elapsed)
        self.attestor = Kubernetes(
            Accepted(issuer=ISSUER, audience="writ", service_accounts={"models/llama"}),
            self.keys,
            naming.read(match, SOURCES, "berlin"),
            reviewer=Reviewer(server=self.https, origin=server.url) if review else None,
            tier=2,
            attributes=Attributes(),
            clock=lambda: self.now,
        )

    def evidence(self, csr: bytes) -> Evidence:
        return self.shows(self.server.token(self.now), csr)

    @staticmethod
    def shows(token: str, csr: bytes = b"") -> Evidence:
        return Evidence(kind=KUBERNETES, csr=csr or request(), bearer=token)

    async def refused(self, token: str) -> str:
        with pytest.raises(NotAttestedError) as caught:
            await self.attestor.attest(self.shows(token))
        return str(caught.value)

    async def away(self) -> str:
        with pytest.raises(UnavailableError) as caught:
            await self.attestor.attest(self.evidence(request()))
        return str(caught.value)


@pytest.fixture
def desk(server) -> Pod:
    return Pod(server)


class TestKubernetes(AttestConformance):
    async def test_two_spellings_of_one_token_are_one(self, desk) -> None:
        """Of an ECDSA signature anybody can make a second one."""
        desk.server.add_key(CURVE_KEY)
        token = desk.server.token(desk.now, key=CURVE_KEY)
        head, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        other = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
        first = await desk.attestor.attest(desk.shows(token))
        second = await desk.attestor.attest(desk.shows(f"{head}.{b64url(other)}"))
        assert first.once == second.once

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"aud": ["https://kubernetes.default.svc"]}, "not for `writ`"),
            ({"aud": []}, "no audience"),
            ({"aud": None}, "no audience"),
            ({"iss": "https://another.cluster"}, "not from"),
            ({"iss": ISSUER + "/"}, "not from"),
            ({"iss": None}, "not from"),
            ({"exp": None}, "no `exp`"),
            ({"exp": "never"}, "`exp` is no time"),
            ({"iat": None, "nbf": None}, "since when"),
            ({"account": "default"}, "enrols no nodes"),
            ({"namespace": "other"}, "enrols no nodes"),
            ({"sub": "system:serviceaccount:models:admin"}, "do not name one service account"),
            ({"kubernetes.io": {"namespace": "models", "serviceaccount": {"name": "llama"}}}, "not bound to a pod"),
            ({"kubernetes.io": "models"}, "not bound to a pod"),
            ({"kubernetes.io": {"namespace": "models", "serviceaccount": "llama", "pod": []}}, "malformed"),
            ({"pod": "Llama_1"}, "names no one node"),
        ],
    )  # fmt: skip
    async def test_a_token_that_says_something_else_is_refused(self, desk, changes, why) -> None:
        assert why in await desk.refused(desk.server.token(desk.now, **changes))

    @pytest.mark.parametrize(
        ("shift", "ok"), [(-600, False), (-60, True), (0, True), (599, True), (600, False)]
    )
    async def test_a_token_counts_from_then_until_then(self, desk, shift, ok) -> None:
        """`shift`: how far our clock is ahead of the issuer's."""
        token = desk.server.token(desk.now)
        desk.now += shift
        if ok:
            assert (await desk.attestor.attest(desk.shows(token))).node == "llama-1"
        else:
            await desk.refused(token)

    @pytest.mark.parametrize("days", [-400, 400])
    async def test_a_clock_that_is_days_off_believes_nobody(self, desk, days) -> None:
        token = desk.server.token(desk.now)
        desk.now += days * 86_400
        await desk.refused(token)

    async def test_a_token_that_lives_for_a_year_is_refused(self, desk) -> None:
        assert "lives longer" in await desk.refused(desk.server.token(desk.now, exp=desk.now + 365 * 86_400))

    async def test_another_key_of_the_right_name_is_refused(self, desk) -> None:
        claims = desk.server.claims(desk.now)
        token = jwt.encode(claims, OTHER_KEY, "RS256", headers={"kid": key_id(desk.server.key)})
        assert "not signed by" in await desk.refused(token)

    async def test_what_verifies_with_a_public_key_as_a_secret_is_refused(self, desk) -> None:
        """HS256 over the key that everybody can fetch."""
        for secret in (
            b"",
            json.dumps(jwt.algorithms.RSAAlgorithm.to_jwk(desk.server.key.public_key())).encode(),
        ):
            header = b64url(json.dumps({"alg": "HS256", "kid": key_id(desk.server.key)}).encode())
            body = f"{header}.{b64url(json.dumps(desk.server.claims(desk.now)).encode())}"
            mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
            assert "algorithm is `HS256`" in await desk.refused(f"{body}.{b64url(mac)}")

    @pytest.mark.parametrize(
        ("header", "why"),
        [
            ({"alg": "none"}, "algorithm is `none`"),
            ({"alg": "None"}, "algorithm"),
            ({"alg": "PS256"}, "algorithm"),
            ({"alg": "EdDSA"}, "algorithm"),
            ({"alg": ["RS256"]}, "algorithm"),
            ({"alg": "ES256"}, "names no key"),  # the key is for RSA
            ({"jku": "https://evil.example/keys"}, "header holds `jku`"),
            ({"x5u": "https://evil.example/chain"}, "header holds `x5u`"),
            ({"jwk": {"kty": "RSA"}}, "header holds `jwk`"),
            ({"x5c": ["MII"]}, "header holds `x5c`"),
            ({"crit": ["exp"]}, "header holds `crit`"),
            ({"kid": None}, "names no key"),
            ({"kid": 7}, "names no key"),
            ({"kid": "../../../etc/passwd"}, "names no key"),
            ({"kid": "' or 1=1 --"}, "names no key"),
            ({"kid": "k" * 4000}, "names no key"),
            ({"kid": "k" * 9000}, "characters is not 1 to"),
        ],
    )
    async def test_a_header_that_would_choose_the_key_is_refused(self, desk, header, why) -> None:
        """Signed for real, so that nothing but the header is wrong."""
        made = {"alg": "RS256", "kid": key_id(desk.server.key), **header}
        text = json.dumps({name: value for name, value in made.items() if value is not None}).encode()
        body = f"{b64url(text)}.{b64url(json.dumps(desk.server.claims(desk.now)).encode())}"
        signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
            body.encode(), desk.server.key
        )
        assert why in await desk.refused(f"{body}.{b64url(signature)}")

    # --- the API server's word ----------------------------------------------------------------------------------

    async def test_the_token_of_a_deleted_pod_is_refused(self, desk) -> None:
        token = desk.server.token(desk.now, pod="gone-1")
        assert (await desk.attestor.attest(desk.shows(token))).node == "gone-1"
        desk.server.delete_pod("uid-gone-1")
        assert "does not know the token" in await desk.refused(token)

    async def test_a_review_that_cannot_be_had_refuses_and_is_no_verdict(self, desk) -> None:
        desk.server.mood("no review")
        assert "answers 500" in await desk.away()

    @pytest.mark.parametrize("mood", ["no audiences", "another user", "another pod"])
    async def test_a_review_that_says_something_else_refuses(self, desk, mood) -> None:
        desk.server.mood(mood)
        assert "says something else" in await desk.refused(desk.server.token(desk.now))

    async def test_a_review_that_is_malformed_is_no_verdict(self, desk) -> None:
        desk.server.mood("null")
        assert "malformed" in await desk.away()

    async def test_without_an_api_server_the_keys_decide(self, server) -> None:
        desk = Pod(server, review=False)
        server.mood("no review")
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"

    async def test_the_machine_is_named_where_the_api_server_says_it(self, server) -> None:
        desk = Pod(server, match="machine={node}")
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "berlin-1"
        old = dict(server.claims(desk.now)["kubernetes.io"])
        del old["node"]
        desk = Pod(server, match="machine={node}", review=False)
        assert "names no one node" in await desk.refused(server.token(desk.now, **{"kubernetes.io": old}))

    # --- keys ---------------------------------------------------------------------------------------------------

    async def test_a_new_key_is_found_and_a_withdrawn_one_is_not_believed_for_long(self, desk) -> None:
        new = desk.server.add_key()
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"
        desk.server.remove_key(new)
        token = desk.server.token(desk.now, key=new)
        review, desk.attestor._reviewer = desk.attestor._reviewer, None
        assert (await desk.attestor.attest(desk.shows(token))).node == "llama-1"  # cached
        desk.elapsed += FRESH_S
        assert "names no key" in await desk.refused(token)
        desk.attestor._reviewer = review
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"

    async def test_unknown_key_ids_are_asked_for_at_a_bounded_rate(self, desk) -> None:
        await desk.attestor.attest(desk.evidence(request()))
        before = len(desk.server.asked)
        for _ in range(50):
            await desk.refused(desk.server.token(desk.now, key=OTHER_KEY))
        assert len(desk.server.asked) == before
        desk.elapsed += PAUSE_S
        for _ in range(50):
            await desk.refused(desk.server.token(desk.now, key=OTHER_KEY))
        assert len(desk.server.asked) == before + 2  # discovery and keys, once

    @pytest.mark.parametrize("mood", ["redirect", "huge", "broken", "another issuer", "plain keys"])
    async def test_an_issuer_that_misbehaves_gives_no_keys(self, desk, mood) -> None:
        desk.server.mood(mood)
        assert "cannot be had" in await desk.away()
        assert "GET /elsewhere" not in desk.server.asked

    async def test_an_issuer_that_drips_holds_nobody(self, desk, monkeypatch) -> None:
        monkeypatch.setattr(https, "TIMEOUT_S", 0.3)
        desk.server.mood("drip")
        assert "cannot be had" in await desk.away()

    async def test_keys_outlive_their_issuer_for_an_hour_and_no_longer(self, server) -> None:
        desk = Pod(server, review=False)
        await desk.attestor.attest(desk.evidence(request()))
        server.mood("redirect")
        desk.elapsed += KEPT_S - 1
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"
        desk.elapsed += PAUSE_S
        assert "cannot be had" in await desk.away()
        server.mood("")
        assert "cannot be had" in await desk.away()  # not asked again yet
        desk.elapsed += PAUSE_S
        assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"


async def test_an_issuer_that_is_down_is_no_verdict(tmp_path) -> None:
    server = ApiServer(tmp_path / "api", issuer=ISSUER)
    desk = Pod(server)
    port = server.port
    server.stop()
    assert "cannot be had" in await desk.away()
    server.start(port)
    desk.elapsed += PAUSE_S
    assert (await desk.attestor.attest(desk.evidence(request()))).node == "llama-1"
    server.stop()
    assert "does not answer" in await desk.away()  # keys are known, the review is not
    assert server.client_token.read_text() not in await desk.away()


async def test_a_server_of_another_ca_is_not_believed(server, tmp_path) -> None:
    other = tmp_path / "ca.crt"
    other.write_bytes(Ca("cluster").pem)
    desk = Pod(server)
    desk.keys._documents = Https(other, origin=server.url, token_file=server.client_token)
    before = len(server.asked)
    assert "cannot be had" in await desk.away()
    assert len(server.asked) == before  # it was not even asked, and has not seen who we are


async def test_a_server_of_another_name_is_not_believed(server) -> None:
    desk = Pod(server)
    address = server.url.replace("localhost", "127.0.0.1")  # its certificate says localhost
    desk.keys._source = Source(issuer=ISSUER, algorithms=jws.ALGORITHMS, server=address)
    desk.keys._documents = Https(server.ca_file, origin=address, token_file=server.client_token)
    assert "cannot be had" in await desk.away()


class Told:
    """An issuer that names keys at `jwks_uri`, and has a set wherever it is asked."""

    def __init__(self, jwks_uri: str) -> None:
        self.said = json.dumps({"issuer": ISSUER, "jwks_uri": jwks_uri, "keys": []}).encode()
        self.asked: list[str] = []

    async def get(self, url: str) -> bytes:
        self.asked.append(url)
        return self.said


@pytest.mark.parametrize(
    ("keys_at", "server", "fetched"),
    [
        (f"{ISSUER}/keys", "", f"{ISSUER}/keys"),
        ("https://10.0.0.1:6443/keys", "", None),
        (f"{ISSUER}:444/keys", "", None),
        ("http://10.0.0.1:6443/keys", "https://api:6443", None),
        ("https://10.0.0.1:6443/keys", "https://api:6443", "https://api:6443/keys"),
    ],
)
async def test_keys_are_fetched_at_the_issuer_or_its_api_server_and_nowhere_else(
    keys_at, server, fetched
) -> None:
    """What is fetched must not send us elsewhere; an API server calls itself by addresses that do not lead to it."""
    told = Told(keys_at)
    keys = IssuerKeys(Source(issuer=ISSUER, algorithms=jws.ALGORITHMS, server=server), told)
    if fetched is None:
        with pytest.raises(UnavailableError):
            await keys.keys("a")
    else:
        assert await keys.keys("a") == {}
    discovery = f"{server or ISSUER}/.well-known/openid-configuration"
    assert told.asked == [discovery, *([fetched] if fetched else [])]


@pytest.mark.parametrize(
    "origin",
    ["http://issuer.example", "issuer.example", "https://", "https://u:p@issuer.example", "https://a/b", ""],
)
def test_an_issuer_is_asked_over_https_alone(origin) -> None:
    with pytest.raises(InvalidError):
        Https(None, origin=origin)
