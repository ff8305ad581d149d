"""SPIFFE Federation, as workloads see it: whose identities they can verify, from when, and until when."""

import json
import signal

import jwt
import pytest
import workloads
from federations import add, federated, fetched
from foreign import ENDPOINT, PARTNER, Foreign, serving
from jwts import claims, header, token
from workloads import CODE, TD_ID, eventually, status

from controlplane.api.gen import admin_pb2
from controlplane.cli.errors import CliError

RETIRE, ACTIVATE = admin_pb2.RetireAuthorityRequest, admin_pb2.ActivateAuthorityRequest


def test_f_13_a_new_key_is_published_before_it_is_used(mesh, caller) -> None:
    def kids() -> set[str]:
        return {key["kid"] for key in json.loads(caller.jwt_bundles()[workloads.TD_ID])["keys"]}

    def signing() -> str:
        return jwt.get_unverified_header(caller.tokens(f"api-{len(seen)}")[0].svid)["kid"]

    seen: list[str] = []
    old, _ = workloads.jwt_key(mesh)
    new = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest()).key_id
    workloads.eventually(lambda: kids() == {old, new})
    seen.append(signing())
    workloads.eventually(lambda: mesh.call("ActivateAuthority", ACTIVATE(key_id=new)).state == "active")
    seen.append(signing())
    before = caller.tokens("api-0")[0].svid
    assert seen == [old, new]
    assert (
        workloads.status(caller.validate, before, "api-0") == workloads.CODE.OK
    )  # the old key is still believed
    mesh.call("RetireAuthority", RETIRE(key_id=old))
    workloads.eventually(lambda: kids() == {new})
    assert workloads.status(caller.validate, before, "api-0") == workloads.CODE.INVALID_ARGUMENT
    with pytest.raises(CliError):
        mesh.call("RetireAuthority", RETIRE(key_id=new))  # the only active one


THEIRS = f"spiffe://{PARTNER}"


@pytest.fixture
def partner(mesh):
    """Federated, with its endpoint, which `web` is told of."""
    made = Foreign()
    with serving(made) as endpoint, federated(mesh, made, endpoint):
        yield made


def given(caller) -> dict[str, bytes]:
    """What an X509-SVID comes with beside its own bundle."""
    return dict(next(caller.stream()).federated_bundles)


def roots(of: Foreign) -> bytes:
    return b"".join(one.root for one in of.roots)


def theirs(of: Foreign, **changes) -> str:
    return token(header(of.kid), claims(f"{THEIRS}/any/path/of/theirs", **changes), of.jwt_key)


def test_f_01_what_is_fetched_reaches_workloads_and_so_does_its_change(mesh, caller, partner) -> None:
    eventually(lambda: given(caller) == {THEIRS: roots(partner)})
    own = caller.svids()[0].bundle
    assert caller.bundles() == {TD_ID: own, THEIRS: roots(partner)}
    kids = [key["kid"] for key in json.loads(caller.jwt_bundles()[THEIRS])["keys"]]
    assert kids == [partner.kid]
    partner.prepare()
    eventually(lambda: given(caller) == {THEIRS: roots(partner)})
    assert caller.bundles()[TD_ID] == own


def test_f_09_tokens_are_verified_with_the_latest_keys_of_their_own_trust_domain(
    mesh, caller, partner
) -> None:
    good = theirs(partner)
    found = eventually(lambda: caller.validate(good))
    assert (found.spiffe_id, set(found.claims)) == (
        f"{THEIRS}/any/path/of/theirs",
        {"sub", "aud", "exp", "iat"},
    )
    assert status(caller.validate, good, "other") == CODE.INVALID_ARGUMENT
    kid, ours = workloads.jwt_key(mesh)
    web = f"{workloads.ID}/web"
    swapped = {
        "their key, our name": token(header(partner.kid), claims(web), partner.jwt_key),
        "our key, their name": token(header(kid), claims(f"{THEIRS}/x"), ours),
        "our key by their id": token(header(partner.kid), claims(f"{THEIRS}/x"), ours),
        "a third trust domain": token(
            header(partner.kid), claims("spiffe://third.example/x"), partner.jwt_key
        ),
        "expired": theirs(partner, exp=1),
    }
    assert {name: status(caller.validate, text) for name, text in swapped.items()} == dict.fromkeys(
        swapped, CODE.INVALID_ARGUMENT
    )
    partner.jwt_key = workloads.keys.generate_p256()
    partner.sequence += 1
    eventually(lambda: caller.validate(theirs(partner)))
    assert status(caller.validate, good) == CODE.INVALID_ARGUMENT  # its key is no longer in the bundle


def test_f_10_claims_of_another_trust_domain_mean_nothing_here(caller, partner) -> None:
    """What our own tokens say of a node's epoch or of rights is not passed on from others."""
    found = eventually(lambda: caller.validate(theirs(partner, writ_epoch=9, groups=["admin"], jti="1")))
    assert set(found.claims) == {"sub", "aud", "exp", "iat", "jti"}


def test_f_14_an_agent_that_starts_alone_has_the_bundles_it_had(mesh, caller, partner) -> None:
    eventually(lambda: given(caller) == {THEIRS: roots(partner)})
    node = workloads.node_of(mesh)
    mesh.control_plane.child.send_signal(signal.SIGSTOP)
    try:
        node.agent.kill()
        node.agent.start()
        node.agent.ports()
        with workloads.Workload(node.workload_socket) as again:
            eventually(lambda: given(again) == {THEIRS: roots(partner)})
    finally:
        mesh.control_plane.child.send_signal(signal.SIGCONT)


def test_f_15_the_end_of_a_relationship_takes_the_bundle_from_workloads(mesh, caller) -> None:
    partner = Foreign()
    with serving(partner) as endpoint, federated(mesh, partner, endpoint):
        eventually(lambda: caller.validate(theirs(partner)))
        stream = caller.stream()
        next(stream)
        mesh.call("RemoveFederation", admin_pb2.GetFederationRequest(trust_domain=PARTNER))
        assert dict(next(stream).federated_bundles) == {}
        assert set(caller.bundles()) == set(caller.jwt_bundles()) == {TD_ID}
        assert status(caller.validate, theirs(partner)) == CODE.INVALID_ARGUMENT
        add(mesh, endpoint.url(), endpoint_id=ENDPOINT, bundle=partner.document())
        eventually(lambda: caller.validate(theirs(partner)))


def test_only_workloads_that_federate_are_told(mesh, caller, partner) -> None:
    eventually(lambda: given(caller))
    workloads.register(mesh, "web", hint="the web")
    eventually(lambda: given(caller) == {})
    assert status(caller.validate, theirs(partner)) == CODE.INVALID_ARGUMENT
    with pytest.raises(CliError, match=r"no federation with `nobody\.example`"):
        workloads.register(mesh, "web", hint="the web", federates_with=["nobody.example"])
    workloads.register(mesh, "web", hint="the web", federates_with=[PARTNER])
    eventually(lambda: given(caller))


def test_a_bundle_that_is_empty_believes_nobody_of_its_trust_domain(mesh, caller, partner) -> None:
    eventually(lambda: caller.validate(theirs(partner)))
    text = theirs(partner)
    empty = partner.document(keys=[], spiffe_sequence=9)
    partner.document = lambda: empty
    fetched(mesh, empty)
    eventually(lambda: status(caller.validate, text) == CODE.INVALID_ARGUMENT)
    assert (given(caller), json.loads(caller.jwt_bundles()[THEIRS])) == ({}, {"keys": []})
