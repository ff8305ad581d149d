"""The part of Admin that is about changing the root."""

from certs.verify import load
from controlplane.api.gen import admin_pb2
from controlplane.rpc.authorities_api import authority
from controlplane.rpc.operators import Collaborators, Context, OperatorsOnly
from controlplane.services.mesh.root_rotation import Effect, Rooted


class RootsServicer(OperatorsOnly):
    """The lines of `admin.proto` about roots."""

    def __init__(self, collaborators: Collaborators) -> None:
        super().__init__(collaborators)
        self._roots = collaborators.identities.root_rotation

    async def ListRoots(
        self, request: admin_pb2.ListRootsRequest, context: Context
    ) -> admin_pb2.ListRootsResponse:
        del request
        self._operator(context, "root_list")
        found = map(_root, await self._roots.roots())
        return admin_pb2.ListRootsResponse(roots=found, delegation=self._c.publisher.anchors.delegation)

    async def PrepareRoot(
        self, request: admin_pb2.PrepareRootRequest, context: Context
    ) -> admin_pb2.RootEffect:
        self._operator(context, "root_prepare", dry_run=request.dry_run)
        return await self._effect(await self._roots.prepare(request.change, dry_run=request.dry_run))

    async def ActivateRoot(
        self, request: admin_pb2.ActivateRootRequest, context: Context
    ) -> admin_pb2.RootEffect:
        self._operator(context, "root_activate", force=request.force, dry_run=request.dry_run)
        done = await self._roots.activate(request.delegation, force=request.force, dry_run=request.dry_run)
        return await self._effect(done)

    async def RetireRoot(
        self, request: admin_pb2.RetireRootRequest, context: Context
    ) -> admin_pb2.RootEffect:
        self._operator(context, "root_retire", force=request.force, dry_run=request.dry_run)
        return await self._effect(await self._roots.retire(force=request.force, dry_run=request.dry_run))

    async def _effect(self, effect: Effect) -> admin_pb2.RootEffect:
        found = map(_root, await self._roots.roots())
        return admin_pb2.RootEffect(roots=found, behind=effect.behind, cas=map(authority, effect.cas))


def _root(of: Rooted) -> admin_pb2.Root:
    ends = int(load(of.certificate).not_valid_after_utc.timestamp())
    return admin_pb2.Root(
        version=of.version, certificate=of.certificate, state=of.state, since=of.since, not_after=ends
    )
