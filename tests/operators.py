"""Operators for tests: made through the API as any other, called as bare clients."""

from typing import Any

import grpc
from clients import channel_of

from agent import identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import admin_pb2, admin_pb2_grpc
from controlplane.cli.demo.mesh import Mesh


class Person:
    """An operator: his key and chain, and what becomes of his calls."""

    def __init__(
        self, mesh: Mesh, name: str, key: Any, chain: tuple[bytes, ...], *, address: str = ""
    ) -> None:
        """`address`: of another replica than the first."""
        self.mesh, self.name, self.key, self.chain, self._address = mesh, name, key, chain, address
        self._stub = admin_pb2_grpc.AdminStub(self.channel())

    @property
    def stub(self) -> admin_pb2_grpc.AdminStub:
        return self._stub

    def channel(self) -> grpc.Channel:
        return channel_of(
            self.mesh, keys.dump_private(self.key, None), identity.pem(*self.chain), self._address
        )

    def __call__(self, method: str, request: Any) -> Any:
        """The answer, or the status code."""
        try:
            return getattr(self._stub, method)(request, timeout=20)
        except grpc.RpcError as exc:
            return exc.code()

    def says(self, method: str, request: Any) -> str:
        """Why not; `done` if it was."""
        try:
            getattr(self._stub, method)(request, timeout=20)
        except grpc.RpcError as exc:
            return exc.details() or ""
        return "done"


def add(by: Any, mesh: Mesh, name: str, role: str, *sites: str, hours: int = 1) -> Person:
    """`by`: an administrator's stub."""
    key = keys.generate_p256()
    wanted = admin_pb2.Operator(name=name, role=role, sites=sites, hours=hours)
    made = by.AddOperator(admin_pb2.AddOperatorRequest(operator=wanted, csr=make_csr(key)), timeout=20)
    return Person(mesh, name, key, tuple(made.chain))
