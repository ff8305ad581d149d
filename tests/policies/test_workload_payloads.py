"""The document of a node's workloads: bundles of other trust domains in it are read strictly, and never stand for ours."""

import json

import pytest
from foreign import PARTNER, Foreign
from pki import TD

from certs import canonical, federation
from policies import documents as d
from policies import payloads
from policies.errors import ContentError
from policies.workloads import Workload

NODE = f"spiffe://{TD}/fr/paris/gpu-1"


def bundle(trust_domain: str = PARTNER):
    found = federation.read(Foreign(trust_domain).document(), trust_domain)
    return federation.TrustBundle(trust_domain=trust_domain, roots=found.roots, jwt_keys=found.jwt_keys)


def document(*bundles, federates_with: tuple[str, ...] = (PARTNER,)) -> d.Workloads:
    web = Workload(name="web", selectors=("unix:uid:1",), federates_with=federates_with)
    return d.Workloads(trust_domain=TD, node=NODE, generation=7, workloads=(web,), federated=bundles)


def changed(doc: d.Workloads, **changes) -> bytes:
    """As JSON, with the first bundle changed."""
    value = json.loads(payloads.dump_workloads(doc))
    value["federated"][0] |= changes
    return canonical.dumps(value)


def test_it_reads_back_as_it_was() -> None:
    several = ("a.example", PARTNER)
    whole = document(*map(bundle, several), federates_with=several)
    assert payloads.load_workloads(payloads.dump_workloads(whole)) == whole
    assert payloads.load_workloads(payloads.dump_workloads(document())) == document()


def test_only_bundles_that_a_workload_federates_with_and_never_our_own() -> None:
    for doc in (
        document(bundle("third.example")),
        document(bundle(), bundle()),
        document(bundle(PARTNER), bundle("a.example"), federates_with=("a.example", PARTNER)),
        document(bundle(TD), federates_with=(TD,)),
        document(bundle(), federates_with=()),
    ):
        with pytest.raises(ContentError):
            payloads.load_workloads(payloads.dump_workloads(doc))


def test_what_is_no_bundle_refuses_the_document() -> None:
    key = json.loads(payloads.dump_workloads(document(bundle())))["federated"][0]["jwt_keys"][0]
    for wrong in (
        {"td": "Partner.example"},
        {"td": 1},
        {"roots": ["AA=="]},
        {"roots": "AA=="},
        {"roots": [None]},
        {"jwt_keys": [key, key]},
        {"jwt_keys": [{**key, "kid": 1}]},
        {"jwt_keys": [{"kid": "x"}]},
        {"jwt_keys": [{**key, "key": "AA=="}]},
        {"jwt_keys": {}},
        {"more": 1},
    ):
        with pytest.raises(ContentError):
            payloads.load_workloads(changed(document(bundle()), **wrong))


def test_registrations_name_trust_domains_sorted_distinct_and_few() -> None:
    many = tuple(sorted(f"p{number}.example" for number in range(17)))
    for wrong in (
        ("b.example", "a.example"),
        ("a.example", "a.example"),
        ("A.example",),
        ("",),
        ("spiffe://a.example",),
        many,
    ):
        with pytest.raises(ContentError):
            payloads.load_workloads(payloads.dump_workloads(document(federates_with=wrong)))
