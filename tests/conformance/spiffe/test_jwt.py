"""JWT-SVID: what the control plane mints, and what the real agent refuses, though the right key signed it."""

import base64
import hashlib
import hmac
import json
import re
import time

import pytest
import sidecar
import workloads
from cryptography.hazmat.primitives import serialization
from jwts import NO, b64, claims, es256, header, part, token

from certs import bundle, jwt_svid, keys
from certs.bundle import TrustBundle
from certs.errors import TokenError

WEB = f"{workloads.ID}/web"
INVALID = workloads.CODE.INVALID_ARGUMENT


@pytest.fixture
def key(mesh):
    return workloads.jwt_key(mesh)


@pytest.fixture
def ends(caller):
    """How the agent's ValidateJWTSVID ends for a token."""
    return lambda text, audience="api": workloads.status(caller.validate, text, audience)


def decoded(text: str) -> tuple[dict, dict]:
    head, body, _ = text.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(one + "=" * (-len(one) % 4))) for one in (head, body))


def minted(caller, *audience: str) -> tuple[dict, dict]:
    return decoded(caller.tokens(*(audience or ("api",)), spiffe_id=WEB)[0].svid)


def test_j_01_the_compact_form_alone(caller, ends, key) -> None:
    good = token(header(key[0]), claims(WEB), key[1])
    assert ends(good) == workloads.CODE.OK
    head, body, signature = good.split(".")
    as_json = {"payload": body, "protected": head, "signature": signature}
    for text in (
        json.dumps(as_json),
        f"{head}.{body}",
        f"{good}.{signature}",
        f"{head}..{signature}",
        f" {good}",
        good + "=",
    ):
        assert ends(text) == INVALID, text
    assert (
        ends(good[:-1] + ("B" if good[-1] == "A" else "A")) == INVALID
    )  # another spelling, or another signature


def test_j_02_no_other_header(caller, ends, key) -> None:
    assert set(minted(caller)[0]) == {"alg", "kid", "typ"}
    for name in ("jku", "x5u", "jwk", "x5c", "crit", "cty", "b64", "zip", "enc"):
        assert (
            ends(token(header(key[0], **{name: "https://evil.example"}), claims(WEB), key[1])) == INVALID
        ), name


def test_j_03_only_the_algorithm_that_we_sign_with(caller, ends, key) -> None:
    assert minted(caller)[0]["alg"] == "ES256"
    for name in ("none", "None", "HS256", "EdDSA", "es256", "RS256", "ES384", "PS256", "", 256, None):
        assert ends(token(header(key[0], alg=name), claims(WEB), key[1])) == INVALID, name
    assert ends(token(header(key[0], alg=NO), claims(WEB), key[1])) == INVALID
    unsigned = f"{part(header(key[0], alg='none'))}.{part(claims(WEB))}."
    assert ends(unsigned) == INVALID


def test_j_03_a_public_key_is_no_secret(ends, key) -> None:
    public = key[1].public_key()
    encodings = [
        public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    for secret in encodings:
        for algorithm in ("HS256", "ES256"):
            signed = f"{part(header(key[0], alg=algorithm))}.{part(claims(WEB))}"
            mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            assert ends(f"{signed}.{b64(mac)}") == INVALID


def test_j_04_typ_is_jwt_or_jose(caller, ends, key) -> None:
    for name, ended in (
        ("JOSE", workloads.CODE.OK),
        (NO, workloads.CODE.OK),
        ("at+jwt", INVALID),
        ("jwt", INVALID),
        (1, INVALID),
    ):
        assert ends(token(header(key[0], typ=name), claims(WEB), key[1])) == ended, name


def test_j_05_sub_is_the_spiffe_id(caller, ends, key) -> None:
    assert minted(caller)[1]["sub"] == WEB
    for subject in (
        NO,
        "",
        "web",
        f"{WEB}/",
        f"{WEB}?x",
        WEB.replace("spiffe", "https"),
        WEB.upper(),
        7,
        [WEB],
        None,
    ):
        assert ends(token(header(key[0]), claims("", sub=subject), key[1])) == INVALID, subject
    for nobody in (
        workloads.TD_ID,
        workloads.ID,
        f"{workloads.TD_ID}/control-plane/replica-1",
        f"{WEB}/deeper",
    ):
        assert ends(token(header(key[0]), claims(nobody), key[1])) == INVALID, nobody


def test_j_06_the_validators_own_audience(caller, ends, key) -> None:
    assert minted(caller)[1]["aud"] == ["api"]
    good = {"string": "api", "list": ["other", "api"]}
    for name, given in good.items():
        assert ends(token(header(key[0]), claims(WEB, aud=given), key[1])) == workloads.CODE.OK, name
    for given in (NO, [], "", "ap", ["API"], [["api"]], {"api": 1}, None, ["api", 1], 1):
        assert ends(token(header(key[0]), claims(WEB, aud=given), key[1])) == INVALID, given


def test_j_07_exp_is_there_and_not_past(caller, ends, key) -> None:
    assert 0 < minted(caller)[1]["exp"] - time.time() <= 300
    now = int(time.time())
    for given in (NO, now - 1, now - 400 * 86400, 0, -1, "9999999999", None, True, [now + 60], 1 << 60):
        assert ends(token(header(key[0]), claims(WEB, exp=given), key[1])) == INVALID, given
    assert ends(token(header(key[0]), claims(WEB, nbf=now + 600), key[1])) == INVALID


def test_j_07_numbers_that_are_none_are_refused(ends, key) -> None:
    for raw in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = json.dumps(claims(WEB, exp=0)).encode().replace(b'"exp": 0', b'"exp": ' + raw)
        assert ends(token(header(key[0]), body, key[1])) == INVALID, raw


def test_j_08_a_key_speaks_for_its_own_trust_domain(caller, ends, key) -> None:
    theirs = keys.generate_p256()
    kid = bundle.key_id(theirs.public_key())
    ours = TrustBundle(trust_domain="demo.example", jwt_keys={key[0]: key[1].public_key()})
    other = TrustBundle(trust_domain="other.example", jwt_keys={kid: theirs.public_key()})
    both = {one.trust_domain: one for one in (ours, other)}
    now = int(time.time())
    good = token(header(kid), claims("spiffe://other.example/a/b/c/d"), theirs)
    assert jwt_svid.verify(good, both, "api", now).claims["sub"] == "spiffe://other.example/a/b/c/d"
    for text in (token(header(kid), claims(WEB), theirs), token(header(key[0]), claims(WEB), theirs)):
        with pytest.raises(TokenError):
            jwt_svid.verify(text, both, "api", now)
        assert ends(text) == INVALID
    assert ends(good) == INVALID  # a trust domain that we know nothing of


def test_j_09_the_key_is_one_of_the_jwt_keys_of_the_bundle(mesh, caller, ends, key) -> None:
    (jwks,) = (json.loads(one) for one in caller.jwt_bundles().values())
    assert [(one["use"], one["kid"]) for one in jwks["keys"]] == [("jwt-svid", key[0])]
    assert minted(caller)[0]["kid"] == key[0]
    ca = workloads.signing_key(mesh, "workload-ca-replica-1")
    kid = bundle.key_id(ca.public_key())
    for name in (kid, key[0], NO, "", "../../etc/passwd", "' OR 1=1 --", 1, ["x"], None):
        assert ends(token(header(key[0], kid=name), claims(WEB), ca)) == INVALID, name


def test_j_10_a_bearer_token_passes_both_sidecars_as_it_was_sent(caller) -> None:
    made = caller.tokens("api", spiffe_id=WEB)[0].svid
    assert re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", made)  # RFC 6750 2.1: what may stand behind `Bearer`
    with sidecar.Running(loop=True, attributes=sidecar.CALLER) as pair:
        assert pair.send("gpu-1.berlin.mesh", headers=[("authorization", f"Bearer {made}")]).allowed
        received = pair.backend.seen[-1]["headers"]["authorization"]
    kind, _, arrived = received.partition(" ")
    assert (kind, arrived) == ("Bearer", made)
    assert caller.validate(arrived).spiffe_id == WEB


def test_j_11_iat_decides_nothing(ends, key) -> None:
    for given in (NO, int(time.time()) + 2, int(time.time()) + 3600, 0):
        assert ends(token(header(key[0]), claims(WEB, iat=given), key[1])) == workloads.CODE.OK, given


def test_j_12_one_audience_and_an_id_of_its_own(caller) -> None:
    first, second = minted(caller, "one")[1], minted(caller, "two")[1]
    assert (first["aud"], second["aud"]) == (["one"], ["two"])
    assert first["jti"] != second["jti"]


def test_a_signature_is_the_one_of_these_bytes_by_this_key(ends, key) -> None:
    kid, private = key
    good = token(header(kid), claims(WEB), private)
    head, body, signature = good.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    number = order.to_bytes(32, "big")
    signatures = {
        "zeros": bytes(64),  # what a verifier takes that forgets to look at r and s
        "r is zero": bytes(32) + raw[32:],
        "s is zero": raw[:32] + bytes(32),
        "r and s are the order": number * 2,
        "halves swapped": raw[32:] + raw[:32],
        "DER": private.sign(f"{head}.{body}".encode(), keys.ECDSA_SHA256),
        "shorter": raw[:-1],
        "longer": raw + b"\0",
        "none": b"",
        "of the claims alone": es256(private, body.encode()),
        "by another key": es256(keys.generate_p256(), f"{head}.{body}".encode()),
    }
    assert ends(good) == workloads.CODE.OK
    for name, one in signatures.items():
        assert ends(f"{head}.{body}.{b64(one)}") == INVALID, name
    other = token(header(kid), claims(f"{workloads.ID}/db"), private).split(".")
    again = part({**header(kid), "typ": "JOSE"})
    for name, text in {
        "claims of another": f"{head}.{other[1]}.{signature}",
        "another header": f"{again}.{body}.{signature}",
        "signature of another": f"{head}.{body}.{other[2]}",
    }.items():
        assert ends(text) == INVALID, name


def test_names_and_audiences_have_one_spelling(ends, key) -> None:
    kid, private = key
    for subject in (f"{WEB}/", f"{WEB}\u0000", f" {WEB}", WEB.upper(), WEB.replace("web", "w%65b"), f"{WEB}?x", f"{WEB}#x", f"{WEB}/..",
                    WEB.replace("demo", "d\u0435mo"), WEB.replace("//", "//x@"), WEB.replace("demo.example", "demo.example:443")):  # fmt: skip
        assert ends(token(header(kid), claims(subject), private)) == INVALID, subject
    for audience in (
        "API",
        "api ",
        "api\u0000",
        ["API"],
        ["ap", "i"],
        ["api2"],
        [["api"]],
        {"api": 1},
        ["api", 1],
    ):
        assert ends(token(header(kid), claims(WEB, aud=audience), private)) == INVALID, audience


def test_nothing_huge_nested_or_doubled_is_read(caller, ends, key) -> None:
    deep = b"[" * 3000 + b"]" * 3000
    doubled = json.dumps(claims(WEB)).encode().replace(b'{"sub"', b'{"sub": "spiffe://demo.example/x", "sub"')
    doubled_head = b'{"alg": "none", ' + json.dumps(header(key[0])).encode()[1:]
    inner = token(header(key[0]), claims(WEB), key[1])
    cases = {
        "huge": token(header(key[0]), claims(WEB, pad="x" * 9000), key[1]),
        "deep": token(header(key[0]), deep, key[1]),
        "doubled": token(header(key[0]), doubled, key[1]),
        "doubled header": token(doubled_head, claims(WEB), key[1]),
        "nested": token(header(key[0], cty="JWT"), inner.encode(), key[1]),
        "nested, unsaid": token(header(key[0]), inner.encode(), key[1]),
        "not an object": token(header(key[0]), [claims(WEB)], key[1]),
        "not utf-8": token(header(key[0]), b'{"sub": "\xff"}', key[1]),
        "empty": "",
        "one MB": "a" * (1 << 20),
    }
    before = caller.names()
    for name, text in cases.items():
        assert ends(text) in {INVALID, workloads.CODE.RESOURCE_EXHAUSTED}, name
    assert caller.names() == before
