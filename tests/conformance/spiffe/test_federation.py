"""SPIFFE Federation: what is there of it. A key is published, known, and only then used."""

import json

import jwt
import pytest
import workloads

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
