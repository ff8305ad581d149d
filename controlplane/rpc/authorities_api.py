"""The part of Admin that is about authorities: issuing CAs and JWT keys, and whom operators believe."""

from controlplane.api.gen import admin_pb2
from controlplane.authority_rows import CaRow
from controlplane.errors import InvalidError
from controlplane.rpc.operators import Collaborators, Context, OperatorsOnly
from controlplane.services.authority import ca_rows, lifecycle
from controlplane.services.authority.lifecycle import Row


class AuthoritiesServicer(OperatorsOnly):
    """The lines of `admin.proto` about authorities."""

    def __init__(self, collaborators: Collaborators) -> None:
        super().__init__(collaborators)
        self._authorities = collaborators.identities.lifecycle

    async def ListAuthorities(
        self, request: admin_pb2.ListAuthoritiesRequest, context: Context
    ) -> admin_pb2.ListAuthoritiesResponse:
        del request
        self._operator(context, "authority_list")
        found = [authority(row) for row in await self._authorities.all()]
        return admin_pb2.ListAuthoritiesResponse(authorities=found)

    async def PrepareAuthority(
        self, request: admin_pb2.PrepareAuthorityRequest, context: Context
    ) -> admin_pb2.Authority:
        kind = request.kind or lifecycle.JWT
        self._operator(context, "authority_prepare", kind=kind, request=request.request)
        if request.certificate:
            return authority(await self._authorities.cas.install(request.certificate))
        if not request.request:
            return authority(await self._authorities.prepare(kind))
        row, csr = await self._authorities.request(kind)
        if row.certificate:
            raise InvalidError("the root is here, and has signed already", hint="leave out --csr")
        return authority(row, csr)

    async def ActivateAuthority(
        self, request: admin_pb2.ActivateAuthorityRequest, context: Context
    ) -> admin_pb2.Authority:
        self._operator(context, "authority_activate", key_id=request.key_id, force=request.force)
        return authority(await self._authorities.activate(request.key_id, force=request.force))

    async def RetireAuthority(
        self, request: admin_pb2.RetireAuthorityRequest, context: Context
    ) -> admin_pb2.Authority:
        self._operator(context, "authority_retire", key_id=request.key_id, force=request.force)
        return authority(await self._authorities.retire(request.key_id, force=request.force))

    async def TaintAuthority(
        self, request: admin_pb2.TaintAuthorityRequest, context: Context
    ) -> admin_pb2.TaintAuthorityResponse:
        self._operator(
            context, "authority_taint", key_id=request.key_id, now=request.now, dry_run=request.dry_run
        )
        effect = await self._c.identities.tainting.taint(
            request.key_id, now=request.now, dry_run=request.dry_run
        )
        return admin_pb2.TaintAuthorityResponse(
            authority=authority(effect.authority),
            nodes=effect.nodes,
            breaks=effect.breaks,
            within_s=self._c.identities.reissue_within_s,
        )

    async def GetAnchors(self, request: admin_pb2.GetAnchorsRequest, context: Context) -> admin_pb2.Anchors:
        del request
        self._operator(context, "anchors_show")
        cas = self._c.publisher.anchors.control_plane_cas
        return admin_pb2.Anchors(control_plane_cas=cas, root=self._c.made.roots[0])

    async def GetRootRequest(
        self, request: admin_pb2.GetRootRequestRequest, context: Context
    ) -> admin_pb2.RootPaper:
        del request
        self._operator(context, "root_request")
        return admin_pb2.RootPaper(text=await self._c.identities.root_again.request())

    async def InstallRootAnswer(
        self, request: admin_pb2.RootPaper, context: Context
    ) -> admin_pb2.RootInstalled:
        self._operator(context, "root_install")
        delegation, listed = await self._c.identities.root_again.install(request.text)
        return admin_pb2.RootInstalled(
            delegation=delegation.version,
            delegation_until=delegation.expires,
            crl_until=listed.next_update,
            revoked=len(listed.entries),
        )


def authority(row: Row, csr: bytes = b"") -> admin_pb2.Authority:
    message = admin_pb2.Authority(
        kind=lifecycle.JWT,
        key_id=row.key_id,
        state=row.state,
        since=row.since,
        replica=row.replica,
        request=csr,
    )
    if isinstance(row, CaRow):
        message.kind, message.not_after = row.kind, ca_rows.not_after(row)
    return message
