"""What an operator does about federation, by the Admin API, for tests."""

import contextlib
from collections.abc import Iterator

import workloads
from foreign import ENDPOINT, PARTNER

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError


def add(mesh: Mesh, url: str, *, endpoint_id: str = "", bundle: bytes = b"", replace: bool = False, **more):
    wanted = admin_pb2.Federation(
        trust_domain=more.get("trust_domain", PARTNER),
        url=url,
        profile=more.get("profile", "https_spiffe" if endpoint_id else "https_web"),
        endpoint_id=endpoint_id,
        bundle=bundle,
    )
    return mesh.call("AddFederation", admin_pb2.AddFederationRequest(federation=wanted, replace=replace))


def show(mesh: Mesh, trust_domain: str = PARTNER):
    return mesh.call("GetFederation", admin_pb2.GetFederationRequest(trust_domain=trust_domain))


def remove(mesh: Mesh, trust_domain: str = PARTNER) -> None:
    mesh.call("RemoveFederation", admin_pb2.GetFederationRequest(trust_domain=trust_domain))


def forget(mesh: Mesh) -> None:
    """None are left."""
    for one in mesh.call("ListFederations", admin_pb2.ListFederationsRequest()).federations:
        remove(mesh, one.trust_domain)


def fetched(mesh: Mesh, document: bytes, trust_domain: str = PARTNER) -> None:
    """Until this is the bundle that is held."""
    workloads.eventually(lambda: show(mesh, trust_domain).bundle == document)


def refused(mesh: Mesh, why: str, trust_domain: str = PARTNER) -> None:
    """Until the last attempt has failed for this reason."""
    try:
        workloads.eventually(lambda: why in show(mesh, trust_domain).error)
    except AssertionError as exc:
        raise AssertionError(f"`{show(mesh, trust_domain).error}` does not say `{why}`") from exc


def may_not_begin(mesh: Mesh, url: str, **wanted) -> str:
    """The refusal of a relationship that must not be."""
    try:
        add(mesh, url, **wanted)
    except CliError as exc:
        return str(exc.message)
    raise AssertionError(f"`{url}` was accepted")


@contextlib.contextmanager
def federated(mesh: Mesh, of, endpoint) -> Iterator[None]:
    """With the partner, by https_spiffe, and the workload `web` told of it."""
    add(mesh, endpoint.url(), endpoint_id=ENDPOINT, bundle=of.document())
    workloads.register(mesh, "web", hint="the web", federates_with=[of.trust_domain])
    try:
        yield
    finally:
        workloads.register(mesh, "web", hint="the web")
        remove(mesh, of.trust_domain)
