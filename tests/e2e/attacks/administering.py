"""What operators may not do, and what must not happen unrecorded or alone. Invariants 1, 8 and 11."""

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

import grpc
import operators
import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.plane import Plane

from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import admin_pb2
from controlplane.api.logfiles import LogFiles
from controlplane.cli.errors import CliError
from controlplane.rpc import permissions
from controlplane.services.admin.approvals import Approvals
from controlplane.services.admin.grants import Grant
from controlplane.services.admin.operators import Operators
from controlplane.services.evidence.recording import Recording

Make = Callable[[str], Any]


def person(plane: Plane, role: str, *sites: str) -> operators.Person:
    return operators.add(plane.mesh.client.stub, plane.mesh, plane.name(), role, *sites)


def calls(role: str, method: str, make: Make, *sites: str) -> Attack:
    """An operator makes a call that is not for him. `make` is given a name that nobody has."""

    def attack(plane: Plane) -> bool:
        return not isinstance(person(plane, role, *sites)(method, make(plane.name())), grpc.StatusCode)

    return attack


def site(name: str) -> admin_pb2.Site:
    return admin_pb2.Site(name=name, jurisdiction="FR")


def elsewhere(method: str, make: Make) -> Attack:
    """An operator of one site acts at another."""

    def attack(plane: Plane) -> bool:
        plane.mesh.site("berlin", "DE")
        return calls("operator", method, make, "berlin")(plane)

    return attack


def more_than_he_has(plane: Plane) -> bool:
    csr = make_csr(keys.generate_p256())
    wanted = admin_pb2.Operator(name=plane.name(), role="admin", hours=1)
    request = admin_pb2.AddOperatorRequest(operator=wanted, csr=csr)
    return not isinstance(person(plane, "admin", "paris")("AddOperator", request), grpc.StatusCode)


def wider_than_he_is(plane: Plane) -> bool:
    """An administrator of one site takes the whole mesh's away."""
    other = person(plane, "auditor")
    request = admin_pb2.RemoveOperatorRequest(name=other.name)
    return not isinstance(person(plane, "admin", "paris")("RemoveOperator", request), grpc.StatusCode)


def with_an_old_certificate(plane: Plane) -> bool:
    """His name was taken away and given to somebody else."""
    before = person(plane, "admin")
    plane.mesh.call("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=before.name))
    operators.add(plane.mesh.client.stub, plane.mesh, before.name, "admin")
    return not isinstance(before("AddSite", site(plane.name())), grpc.StatusCode)


def unrecorded(plane: Plane) -> bool:
    """The device of the evidence log refuses every write. Does a site appear all the same?"""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = plane.name()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogFiles, "append", full)
        with contextlib.suppress(CliError):
            plane.mesh.site(name, "FR")
    return name in {one.name for one in plane.mesh.call("ListSites", admin_pb2.ListSitesRequest()).sites}


def alone(plane: Plane) -> bool:
    """Two are asked for; one asks and approves."""
    other = person(plane, "admin")
    plane.mesh.call("SetApproval", admin_pb2.SetApprovalRequest(required=True))
    try:
        return _approved_by(plane, lambda id_: _done(plane, "ApproveCall", id_))
    finally:
        try:
            plane.mesh.call("SetApproval", admin_pb2.SetApprovalRequest(required=False))
        except CliError as exc:
            request = admin_pb2.ApproveCallRequest(id=exc.message.split("`")[1])
            assert not isinstance(other("ApproveCall", request), grpc.StatusCode)


def _approved_by(plane: Plane, approve: Callable[[str], bool]) -> bool:
    try:
        plane.token(plane.name())
    except CliError as exc:
        return approve(exc.message.split("`")[1])
    return True


def _done(plane: Plane, method: str, id_: str) -> bool:
    try:
        plane.mesh.call(method, admin_pb2.ApproveCallRequest(id=id_))
    except CliError:
        return False
    return True


def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(*_: object, **__: object) -> None:
        """Nobody writes anything down."""

    monkeypatch.setattr(Recording, "keep", keep)


CONTROLS = (
    Control(
        1,
        "operators: calls are for roles",
        [
            ("an auditor adds a site", calls("auditor", "AddSite", site)),
            ("an operator adds a site", calls("operator", "AddSite", site)),
            ("a pipeline invites a node", calls("ci", "CreateToken", lambda name: admin_pb2.CreateTokenRequest(node=name, site="paris"))),
            ("an auditor prepares a key", calls("auditor", "PrepareAuthority", lambda _: admin_pb2.PrepareAuthorityRequest())),
        ],
        mutants.code(permissions, "check", "if grant.role not in row.roles:", "if False:"),
    ),
    Control(
        1,
        "operators: calls are bound to sites",
        [
            ("he invites a node elsewhere", elsewhere("CreateToken", lambda name: admin_pb2.CreateTokenRequest(node=name, site="paris"))),
            ("he lists the nodes of another site", elsewhere("ListNodes", lambda _: admin_pb2.ListNodesRequest(site="paris"))),
        ],
        mutants.code(permissions, "check", "if bound is not None:", "if False:"),
    ),
    Control(
        8,
        "operators: nobody gives or takes more than he has",
        [
            ("an administrator of a site makes one of the mesh", more_than_he_has),
            ("an administrator of a site removes somebody of the mesh", wider_than_he_is),
        ],
        mutants.code(Grant, "check_holds", "if not self.holds(sites):", "if False:"),
    ),
    Control(
        8,
        "operators: certificates count while the store lists them",
        [("an old certificate of a name that was given again", with_an_old_certificate)],
        mutants.code(Operators, "of", 'found is None or f"{serial:x}" not in found.row.serials', "found is None"),
    ),
    Control(
        11,
        "administration: what cannot be recorded is not done",
        [("a site, while the log cannot be written", unrecorded)],
        unwatched,
    ),
    Control(
        1,
        "approvals: nobody approves what he asked for",
        [("a token, by one alone", alone)],
        mutants.code(Approvals, "decide", "if verdict == DONE and row.by == by.name:", "if False:"),
    ),
)  # fmt: skip
