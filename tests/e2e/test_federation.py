"""Two meshes of Writ federate: each verifies workloads of the other with the other's keys, through rotations, until told not to."""

import jwt
import pytest
import workloads
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from federations import remove, show
from workloads import CODE, Workload, eventually, node_of, status

from certs import der
from controlplane.api.gen import admin_pb2

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
FAR = "far.example"
SERVING = {"WRIT_FEDERATION__LISTEN": "127.0.0.1:0", "WRIT_FEDERATION__POLL_MIN_S": "1"}


@pytest.fixture(scope="module")
def pair():
    with (
        workloads.one_node(environment=SERVING) as near,
        workloads.one_node(environment=SERVING, trust_domain=FAR) as far,
    ):
        federate(near, far)
        federate(far, near)
        yield near, far


def federate(mesh, other) -> None:
    """By what the other's operator can see."""
    told = other.call("ListFederations", admin_pb2.ListFederationsRequest())
    wanted = admin_pb2.Federation(
        trust_domain=other.trust_domain,
        url=f"https://127.0.0.1:{other.control_plane.ports()['federation']}/",
        profile=told.profile,
        endpoint_id=told.endpoint_id,
        bundle=other.call("GetBundle", admin_pb2.GetBundleRequest()).document,
    )
    mesh.call("AddFederation", admin_pb2.AddFederationRequest(federation=wanted))
    workloads.register(mesh, "web", federates_with=[other.trust_domain])


def fetch_now(mesh, other) -> None:
    """Adding a federation again asks for its bundle at once."""
    mesh.call("AddFederation", admin_pb2.AddFederationRequest(federation=show(mesh, other.trust_domain)))


def verified(chain: bytes, roots: bytes) -> str:
    """Whose certificate this is, by a verifier that is not ours, below these roots."""
    leaf, *between = map(x509.load_der_x509_certificate, der.split(chain))
    store = Store([x509.load_der_x509_certificate(one) for one in der.split(roots)])
    found = PolicyBuilder().store(store).build_client_verifier().verify(leaf, between)
    return found.subjects[0].value


def test_each_verifies_the_others_workloads_and_no_more_than_it_was_told(pair) -> None:
    near, far = pair
    with (
        Workload(node_of(near).workload_socket) as here,
        Workload(node_of(far).workload_socket) as there,
    ):
        theirs = eventually(lambda: here.bundles()[f"spiffe://{FAR}"])
        svid = eventually(there.svids)[0]
        assert svid.spiffe_id == f"spiffe://{FAR}/fr/paris/app-1/web"
        assert verified(svid.x509_svid, theirs) == svid.spiffe_id
        with pytest.raises(VerificationError):
            verified(svid.x509_svid, here.svids()[0].bundle)
        token = there.tokens("api")[0].svid
        assert here.validate(token).spiffe_id == svid.spiffe_id
        assert (
            eventually(lambda: there.validate(here.tokens("api")[0].svid)).spiffe_id == f"{workloads.ID}/web"
        )

        key = far.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest()).key_id
        fetch_now(near, far)
        eventually(lambda: key in here.jwt_bundles()[f"spiffe://{FAR}"].decode())
        activate = admin_pb2.ActivateAuthorityRequest(key_id=key)
        eventually(lambda: far.call("ActivateAuthority", activate).state == "active")
        fresh = there.tokens("another")[0].svid
        assert jwt.get_unverified_header(fresh)["kid"] == key
        assert here.validate(fresh, "another").spiffe_id == svid.spiffe_id
        assert here.validate(token).spiffe_id == svid.spiffe_id

        remove(near, FAR)  # one way only
        eventually(lambda: status(here.validate, token) == CODE.INVALID_ARGUMENT)
        assert f"spiffe://{FAR}" not in here.bundles()
        assert there.validate(here.tokens("api")[0].svid).spiffe_id == f"{workloads.ID}/web"
