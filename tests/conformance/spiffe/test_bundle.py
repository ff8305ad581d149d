"""SPIFFE trust bundles: the document that we publish, and what is read from those of others."""

import json
import time

import pytest
from jwts import claims, header, token
from pki import TD, Pki

from certs import bundle, bundle_map, jwt_svid, keys
from certs.bundle import TrustBundle
from certs.errors import BundleError, TokenError
from controlplane.api.gen import admin_pb2

KEY = keys.generate_p256()
KID = bundle.key_id(KEY.public_key())
BUNDLE = TrustBundle(trust_domain=TD, roots=(Pki().root,), jwt_keys={KID: KEY.public_key()}, sequence=7)
WEB = f"spiffe://{TD}/fr/paris/gpu-1/web"


def published(mesh) -> dict:
    return json.loads(mesh.call("GetBundle", admin_pb2.GetBundleRequest()).document)


def document(**changes) -> dict:
    return {**json.loads(bundle.dump(BUNDLE)), **changes}


def load(value) -> TrustBundle:
    return bundle.load(json.dumps(value).encode(), TD)


def believed(found: TrustBundle) -> bool:
    try:
        text = token(header(KID), claims(WEB), KEY)
        jwt_svid.verify(text, {found.trust_domain: found}, "api", int(time.time()))
    except TokenError:
        return False
    return True


def test_b_01_a_jwk_set_with_keys(mesh) -> None:
    ours = published(mesh)
    assert {entry["use"] for entry in ours["keys"]} == {"x509-svid", "jwt-svid"}
    assert all(set(entry) >= {"kty", "use"} for entry in ours["keys"])
    assert load(document()) == BUNDLE
    for wrong in ({}, {"keys": None}, {"keys": {}}, [], "x"):
        with pytest.raises(BundleError):
            load(wrong)
    for raw in (b"", b"{", b"\xff", b'{"keys": [], "keys": []}', b"[" * 100_000, b" " * (2 << 20)):
        with pytest.raises(BundleError):
            bundle.load(raw, TD)


def test_b_02_without_keys_nobody_is_believed() -> None:
    assert believed(load(document()))
    assert load({"keys": []}) == TrustBundle(trust_domain=TD)
    assert not believed(load({"keys": []}))


def test_b_03_the_sequence_grows_with_every_change(mesh) -> None:
    before = published(mesh)["spiffe_sequence"]
    made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest())
    prepared = published(mesh)
    assert prepared["spiffe_sequence"] > before
    assert made.key_id in {entry.get("kid") for entry in prepared["keys"]}
    mesh.call("RetireAuthority", admin_pb2.RetireAuthorityRequest(key_id=made.key_id))
    assert published(mesh)["spiffe_sequence"] > prepared["spiffe_sequence"]
    assert load(document(spiffe_sequence=2**60 + 1)).sequence == 2**60 + 1
    for wrong in (1.5, "7", -1, True, [7]):
        with pytest.raises(BundleError):
            load(document(spiffe_sequence=wrong))


def test_b_04_the_refresh_hint_is_in_seconds_and_five_minutes_if_absent(mesh) -> None:
    assert published(mesh)["spiffe_refresh_hint"] == 300
    without = document()
    del without["spiffe_refresh_hint"]
    assert load(without).refresh_hint_s == 300
    assert load(document(spiffe_refresh_hint=60)).refresh_hint_s == 60
    with pytest.raises(BundleError):
        load(document(spiffe_refresh_hint="60"))


def test_b_05_what_is_not_known_is_ignored() -> None:
    jwt = document()["keys"][1]
    ignored = [
        {**jwt, "use": "wit-svid"},
        {**jwt, "use": "JWT-SVID"},
        {**jwt, "use": 1},
        {**jwt, "kty": "AKP"},
        {**jwt, "kty": "ec"},
        {name: value for name, value in jwt.items() if name != "use"},
        {name: value for name, value in jwt.items() if name != "kid"},
        {**jwt, "kid": ""},
        "text",
        None,
    ]
    assert load({"keys": ignored}) == TrustBundle(trust_domain=TD)
    assert load({"keys": [*ignored, jwt]}).jwt_keys == BUNDLE.jwt_keys


def test_b_05_a_key_that_says_what_it_is_and_is_not_refuses_the_bundle() -> None:
    jwt = document()["keys"][1]
    for wrong in (
        {**jwt, "x": jwt["y"]}, {**jwt, "x": "!"}, {**jwt, "x": 1}, {**jwt, "y": ""},
        {**jwt, "kid": "\ud800"}, {**jwt, "kid": "a\n"}, {**jwt, "kid": "k" * 257},
    ):  # fmt: skip
        with pytest.raises(BundleError):
            load({"keys": [wrong]})
    with pytest.raises(BundleError):
        load({"keys": [jwt, jwt]})  # one name for two keys


def test_b_06_no_other_parameter_is_needed() -> None:
    bare = {
        "keys": [
            {"use": "x509-svid", "kty": "EC", "x5c": document()["keys"][0]["x5c"]},
            document()["keys"][1],
        ]
    }
    assert (load(bare).roots, load(bare).jwt_keys) == (BUNDLE.roots, BUNDLE.jwt_keys)
    assert load(document(more={"x": 1})) == BUNDLE


def test_b_07_trust_domains_of_a_map_are_there_and_distinct() -> None:
    other = bundle.dump(TrustBundle(trust_domain="other.example", roots=BUNDLE.roots, refresh_hint_s=5))
    text = bundle_map.dump({"other.example": other, TD: bundle.dump(BUNDLE)})
    found = bundle_map.load(text)
    assert found.bundles[TD] == BUNDLE
    assert set(found.bundles) == {TD, "other.example"}
    assert bundle_map.load(b'{"trust_domains": {}}').bundles == {}
    one = bundle.dump(BUNDLE).decode()
    wrong = (
        "{}", "[]", '{"trust_domains": []}', '{"trust_domains": null}', f'{{"trust_domains": {{"{TD}": {one}, "{TD}": {one}}}}}',
        f'{{"trust_domains": {{"Acme.Example": {one}}}}}', f'{{"trust_domains": {{"spiffe://{TD}": {one}}}}}',
        f'{{"trust_domains": {{"{TD}": {{}}}}}}', f'{{"trust_domains": {{"{TD}": {one}}}, "spiffe_refresh_hint": -1}}',
    )  # fmt: skip
    for text in wrong:
        with pytest.raises(BundleError):
            bundle_map.load(text.encode())
    with pytest.raises(BundleError):
        bundle_map.dump({TD: b"{}"})


def test_b_08_the_refresh_of_a_map_is_its_own() -> None:
    quick = bundle.dump(TrustBundle(trust_domain=TD, roots=BUNDLE.roots, refresh_hint_s=5))
    assert bundle_map.load(bundle_map.dump({TD: quick}, refresh_hint_s=900)).refresh_hint_s == 900
    without = b'{"trust_domains": {"acme.example": %s}}' % quick
    assert bundle_map.load(without).refresh_hint_s == 300


def test_b_09_each_trust_domain_has_its_own_keys() -> None:
    other = TrustBundle(trust_domain="other.example", jwt_keys=BUNDLE.jwt_keys)
    empty = TrustBundle(trust_domain=TD)
    text = token(header(KID), claims(WEB), KEY)
    with pytest.raises(TokenError):
        jwt_svid.verify(text, {TD: empty, "other.example": other}, "api", int(time.time()))
