"""SPIFFE Federation, as the client: the real control plane fetches from endpoints that do what the test says."""

import federations
import foreign
import pytest
from federations import add, fetched, may_not_begin, refused, show
from foreign import ENDPOINT, PARTNER, Foreign, answer, redirect, serving

from certs import federation
from certs.federation import HTTPS_SPIFFE, HTTPS_WEB, Relationship
from controlplane.api.gen import admin_pb2

HOST = "127.0.0.1"


@pytest.fixture
def partner(mesh):
    yield Foreign()
    federations.forget(mesh)


def test_f_02_both_profiles_are_fetched(mesh, web, partner) -> None:
    host = Foreign("web.example")
    with serving(partner) as spiffe, serving(host, web.site(HOST)) as plain:
        add(mesh, spiffe.url(), endpoint_id=ENDPOINT, bundle=partner.document())
        add(mesh, plain.url(), trust_domain="web.example")
        partner.sequence, host.sequence = 2, 2
        fetched(mesh, partner.document())
        fetched(mesh, host.document(), "web.example")


@pytest.mark.parametrize(
    "url",
    [
        "http://partner.example/", "https://user@partner.example/", "https://u:p@partner.example/", "https://@partner.example/",
        "partner.example", "", "https://", "https:///x", "ftp://partner.example/", "https://partner.example:0/",
        "https://partner.example:99999/", "https://partner.example/#x", "https://partner.example/ x", "https://pärtner.example/",
        "https://partner.example/\r\nHost: x", "https://[::1/", "https://a b/", "file:///etc/passwd", "https://x/" + "a" * 3000,
    ],
)  # fmt: skip
def test_f_04_urls_are_https_without_user(mesh, partner, url) -> None:
    may_not_begin(mesh, url)
    assert mesh.call("ListFederations", admin_pb2.ListFederationsRequest()).federations == []


def test_f_05_an_endpoint_with_old_tls_is_left_alone(mesh, web, partner) -> None:
    with serving(partner, web.site(HOST)) as endpoint:
        with pytest.warns(DeprecationWarning, match="TLS"):
            endpoint.show(web.site(HOST), newest_tls=foreign.ssl.TLSVersion.TLSv1_1)
        add(mesh, endpoint.url())
        refused(mesh, "no bundle: [SSL")
        assert endpoint.asked == []


def test_f_06_a_relationship_is_url_profile_and_trust_domain(mesh, web, partner) -> None:
    with serving(partner, web.site(HOST)) as endpoint:
        add(mesh, endpoint.url("/bundle.json?x=1"))  # https_web needs nothing more
        fetched(mesh, partner.document())
        assert set(endpoint.asked) == {"/bundle.json?x=1"}
        found = show(mesh)
        assert (found.trust_domain, found.profile, found.endpoint_id) == (PARTNER, HTTPS_WEB, "")
        assert add(mesh, endpoint.url("/bundle.json?x=1")).url == found.url  # the same again changes nothing
        may_not_begin(mesh, endpoint.url("/other"))  # without `replace`
        assert show(mesh).url == found.url
    url = "https://partner.example/"
    for wrong in (
        {"trust_domain": "demo.example"}, {"trust_domain": "Partner.example"}, {"trust_domain": ""}, {"trust_domain": "a/b"},
        {"profile": "https"}, {"profile": ""}, {"profile": HTTPS_SPIFFE}, {"profile": HTTPS_WEB, "endpoint_id": ENDPOINT},
        {"endpoint_id": "https://x/y"}, {"endpoint_id": f"spiffe://{PARTNER}"}, {"bundle": b"{}"}, {"bundle": b"\xff"},
        {"endpoint_id": ENDPOINT, "bundle": b'{"keys": [], "keys": []}'}, {"bundle": b" " * (1 << 17)},
    ):  # fmt: skip
        may_not_begin(mesh, url, **{"replace": True, **wrong})


def test_f_07_a_site_is_verified_by_its_host(mesh, web, partner) -> None:
    others = {"another host": web.site("localhost"), "another CA": foreign.Web().site(HOST)}
    for credential in others.values():
        with serving(partner, credential) as endpoint:
            add(mesh, endpoint.url(), replace=True)
            refused(mesh, "certificate verify failed")
            assert (endpoint.asked, show(mesh).bundle) == ([], b"")
    with serving(partner, web.site("localhost")) as endpoint:
        add(mesh, endpoint.url(host="localhost"), replace=True)
        fetched(mesh, partner.document())


def test_f_08_exactly_the_endpoints_spiffe_id(mesh, web, partner) -> None:
    begin = partner.document()
    impostors = {
        "another ID": (partner.endpoint(f"{ENDPOINT}/x"), "the endpoint is not"),
        "two IDs": (partner.endpoint(ENDPOINT, f"{ENDPOINT}/x"), "the endpoint is not"),
        "no ID": (partner.endpoint(), "no X509-SVID"),
        "a signing certificate": (partner.endpoint(ENDPOINT, ca=True), "signing certificate"),
        "another root": (Foreign().endpoint(ENDPOINT), "certificate verify failed"),
        "a site of the Web": (web.site(HOST), "certificate verify failed"),
    }
    partner.sequence = 2
    for name, (credential, why) in impostors.items():
        with serving(partner, credential) as endpoint:
            add(mesh, endpoint.url(), endpoint_id=ENDPOINT, bundle=begin, replace=True)
            refused(mesh, why)
            assert (endpoint.asked, show(mesh).bundle) == ([], begin), name
    with serving(partner) as endpoint:  # nor does the host count, only the ID
        add(mesh, endpoint.url(host="localhost"), endpoint_id=ENDPOINT, replace=True)
        fetched(mesh, partner.document())


def test_f_09_the_latest_bundle_verifies_the_next(mesh, partner) -> None:
    may_not_begin(mesh, "https://partner.example/", endpoint_id=ENDPOINT)  # nothing to begin with
    with serving(partner) as endpoint:
        add(mesh, endpoint.url(), endpoint_id=ENDPOINT, bundle=partner.document())
        for _ in range(2):
            partner.prepare()
            fetched(mesh, partner.document())
            partner.activate()
            endpoint.show(partner.endpoint(ENDPOINT))
            fetched(mesh, partner.document())
        partner.roots = [Foreign().roots[0]]  # not prepared: nobody has heard of this root
        partner.sequence += 1
        before = show(mesh).bundle
        endpoint.show(partner.endpoint(ENDPOINT))
        refused(mesh, "certificate verify failed")
        assert show(mesh).bundle == before


def test_f_10_an_endpoint_of_another_trust_domain_is_verified_by_that_ones_bundle(mesh, partner) -> None:
    host = Foreign("host.example")
    itself_id, hosted = "spiffe://host.example/bundle/endpoint", "spiffe://host.example/bundles"
    may_not_begin(mesh, "https://host.example/", endpoint_id=hosted)  # nothing is known of it
    may_not_begin(mesh, "https://host.example/", endpoint_id=hosted, bundle=partner.document())
    with (
        serving(host, host.endpoint(itself_id)) as itself,
        serving(partner, host.endpoint(hosted)) as endpoint,
    ):
        add(mesh, itself.url(), trust_domain="host.example", endpoint_id=itself_id, bundle=host.document())
        add(mesh, endpoint.url(), endpoint_id=hosted)
        fetched(mesh, partner.document())
        endpoint.show(partner.endpoint(hosted))  # the served bundle does not vouch for its host
        partner.sequence = 2
        refused(mesh, "certificate verify failed")
        endpoint.show(host.endpoint(hosted))
        fetched(mesh, partner.document())
        federations.remove(mesh, "host.example")
        refused(mesh, "there is no bundle of `host.example`")


def test_f_11_redirects_are_held_to_the_same_rules(mesh, partner) -> None:
    begin = partner.document()
    partner.sequence = 2
    with serving(partner) as target, serving(partner) as impostor, serving(partner) as endpoint:
        impostor.show(partner.endpoint(f"{ENDPOINT}/x"))
        add(mesh, endpoint.url(), endpoint_id=ENDPOINT, bundle=begin)
        fetched(mesh, partner.document())
        refusals = {
            "no bundle endpoint": [redirect("http://127.0.0.1/"), redirect("//user@127.0.0.1/"), redirect("file:///etc/passwd")],
            f"the endpoint is not `{ENDPOINT}`": [redirect(impostor.url())],
            "redirected more than": [redirect(endpoint.url("/again"))],
            "answered `302`": [answer(b"", "302 Found")],
        }  # fmt: skip
        partner.sequence = 3
        for why, answers in refusals.items():
            for said in answers:
                endpoint.say = lambda _, said=said: said
                refused(mesh, why)
        assert impostor.asked == []
        endpoint.say = lambda _: redirect(target.url("/there"), "308 Permanent Redirect")
        fetched(mesh, partner.document())
        assert target.asked[0] == "/there"
        assert show(mesh).url == endpoint.url()  # where it led is not remembered
        endpoint.wait_asked(1)


def test_f_12_polled_at_the_refresh_hint_within_bounds(mesh, web, partner) -> None:
    wanted = {0: 60, 1: 60, 59: 60, 60: 60, 300: 300, 3600: 3600, 3601: 3600, 10**9: 3600}
    assert {hint: federation.poll_after_s(hint) for hint in wanted} == wanted
    with serving(partner, web.site(HOST)) as endpoint:
        add(mesh, endpoint.url())  # a hint of one second, which this control plane was told to follow
        endpoint.wait_asked(3)


def test_f_12_without_a_hint_and_after_a_failure_the_default(partner) -> None:
    without = federation.read(b'{"keys": []}', PARTNER)
    assert without.refresh_hint_s == 300
    # That a failure waits as long as a success is in tests/controlplane/test_polling.py.


def test_f_14_bundles_are_kept_and_older_ones_ignored(mesh, web, partner) -> None:
    with serving(partner, web.site(HOST)) as endpoint:
        partner.sequence = 7
        add(mesh, endpoint.url())
        fetched(mesh, newest := partner.document())
        partner.sequence = 6
        refused(mesh, "rollback: offered `6`, held `7`")
        partner.sequence, partner.jwt_key = 7, foreign.keys.generate_p256()
        refused(mesh, "without a new sequence number")
        for body in (b"", b"{}", b"[]", b"{", b" " * (1 << 17), b'{"keys": [], "keys": []}'):
            endpoint.say = lambda _, body=body: answer(body)
            refused(mesh, "bundle")
        for said in (answer(b"{", "200 OK")[:-1], b"", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000, b"\x16\x03",
                     answer(newest, "404 Not Found"), answer(newest, "200 OK", "content-encoding: gzip")):  # fmt: skip
            endpoint.say = lambda _, said=said: said
            refused(mesh, "no bundle")
        assert show(mesh).bundle == newest
    mesh.control_plane.kill()  # and across a restart, with the endpoint gone
    mesh.control_plane.start()
    mesh.control_plane.ports()
    assert show(mesh).bundle == newest


def test_relationships_of_the_standard_hold() -> None:
    good = Relationship(trust_domain=PARTNER, url="https://[::1]:8443/x?y", profile=HTTPS_WEB)
    assert federation.check(good, "acme.example") == good
    assert federation.location(good.url) == federation.Location("::1", 8443, "/x?y")
    assert federation.location("https://A.example") == federation.Location("a.example", 443, "/")
