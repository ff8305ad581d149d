"""Admin: operators only, on every method. Converts, calls a service, converts; each change leaves a log line."""

import time
from collections.abc import AsyncIterator
from importlib import metadata

from controlplane import model
from controlplane.api.gen import admin_pb2
from controlplane.attest.token import JoinToken
from controlplane.errors import InvalidError
from controlplane.model import NodeRow
from controlplane.rpc import convert
from controlplane.rpc.approvals_api import ApprovalsServicer
from controlplane.rpc.authorities_api import AuthoritiesServicer
from controlplane.rpc.federation_api import FederationServicer
from controlplane.rpc.guard import ended
from controlplane.rpc.identities_api import IdentitiesServicer
from controlplane.rpc.operators import Context
from controlplane.rpc.operators_api import OperatorsServicer
from controlplane.rpc.policy_api import PolicyApi
from controlplane.rpc.roots_api import RootsServicer
from controlplane.services.identity import nodes as registry
from controlplane.services.push.enforcement import follow

MAX_TTL_S, DEFAULT_TTL_S = 86400, 600


class AdminServicer(
    PolicyApi,
    IdentitiesServicer,
    AuthoritiesServicer,
    RootsServicer,
    FederationServicer,
    OperatorsServicer,
    ApprovalsServicer,
):
    """One method per line of `admin.proto`."""

    # --- sites and nodes ---------------------------------------------------------------------------------------

    async def AddSite(self, request: admin_pb2.Site, context: Context) -> admin_pb2.Site:
        self._operator(context, "site_add", site=request.name)
        return convert.site(
            await self._c.nodes.add_site(request.name, request.jurisdiction, dict(request.labels))
        )

    async def ListSites(
        self, request: admin_pb2.ListSitesRequest, context: Context
    ) -> admin_pb2.ListSitesResponse:
        del request
        self._operator(context, "site_list")
        return admin_pb2.ListSitesResponse(sites=[convert.site(row) for row in await self._c.nodes.sites()])

    async def CreateToken(
        self, request: admin_pb2.CreateTokenRequest, context: Context
    ) -> admin_pb2.CreateTokenResponse:
        self._operator(context, "token_create", node=f"{request.node}.{request.site}")
        ttl_s = request.ttl_s or DEFAULT_TTL_S
        if ttl_s > MAX_TTL_S:
            raise InvalidError(f"a token lives at most {MAX_TTL_S} s")
        token = JoinToken(
            secret=registry.new_secret(),
            root_sha256=self._c.made.root_sha256,
            address=self._c.enrolment_address,
            trust_domain=self._c.made.trust_domain,
            node=request.node,
            site=request.site,
        )
        given = convert.attributes(request.attributes) if request.HasField("attributes") else None
        expires_at = int(time.time()) + ttl_s
        await self._c.nodes.create_token(
            request.node, request.site, attributes=given, token=token, expires_at=expires_at
        )
        return admin_pb2.CreateTokenResponse(token=token.text(), expires_at=expires_at)

    async def ListNodes(
        self, request: admin_pb2.ListNodesRequest, context: Context
    ) -> admin_pb2.ListNodesResponse:
        self._operator(context, "node_list")
        return admin_pb2.ListNodesResponse(nodes=await self._all_nodes(request.site))

    async def GetNode(self, request: admin_pb2.GetNodeRequest, context: Context) -> admin_pb2.Node:
        self._operator(context, "node_show", node=f"{request.node}.{request.site}")
        return await self._node(request.node, request.site)

    async def SetNode(self, request: admin_pb2.SetNodeRequest, context: Context) -> admin_pb2.SetNodeResponse:
        self._operator(context, "node_set", node=f"{request.node}.{request.site}")
        new = convert.attributes(request.attributes)
        row, narrowed = await self._c.nodes.set_attributes(request.node, request.site, new)
        self._push_renewal(row)
        generation = await self._c.nodes.generation()
        node = await self._node(request.node, request.site)
        return admin_pb2.SetNodeResponse(node=node, narrowed=narrowed, generation=generation)

    async def RenewNode(self, request: admin_pb2.GetNodeRequest, context: Context) -> admin_pb2.Node:
        self._operator(context, "node_renew", node=f"{request.node}.{request.site}")
        self._push_renewal(await self._c.nodes.ask_to_renew(request.node, request.site))
        return await self._node(request.node, request.site)

    async def RevokeNode(
        self, request: admin_pb2.RevokeNodeRequest, context: Context
    ) -> admin_pb2.RevokeNodeResponse:
        self._operator(context, "node_revoke", node=f"{request.node}.{request.site}", reason=request.reason)
        revoked_at_ms = int(time.time() * 1000)
        generation = await self._c.nodes.revoke(request.node, request.site, request.reason)
        row = await self._c.nodes.get(request.node, request.site)
        self._c.publisher.hub.drop(str(row.spiffe_id))
        return admin_pb2.RevokeNodeResponse(generation=generation, revoked_at_ms=revoked_at_ms)

    async def UnrevokeNode(self, request: admin_pb2.GetNodeRequest, context: Context) -> admin_pb2.Node:
        self._operator(context, "node_unrevoke", node=f"{request.node}.{request.site}")
        await self._c.nodes.unrevoke(request.node, request.site)
        return await self._node(request.node, request.site)

    async def WatchEnforcement(
        self, request: admin_pb2.WatchEnforcementRequest, context: Context
    ) -> AsyncIterator[admin_pb2.Enforcement]:
        try:
            self._operator(context, "watch_enforcement", generation=request.generation)
            rows = [row for row in await self._c.nodes.all() if row.state in model.HEARD]
            async for event in follow(self._c.publisher, rows, request.generation, context.time_remaining()):
                yield event
        except Exception as exc:  # noqa: BLE001 - the edge: everything ends as a status
            await ended(context, "/writ.v1.Admin/WatchEnforcement", exc)

    # --- resources ----------------------------------------------------------------------------------

    async def ApplyResources(
        self, request: admin_pb2.ApplyResourcesRequest, context: Context
    ) -> admin_pb2.ApplyResourcesResponse:
        self._operator(context, "resource_apply", resources=len(request.resources), dry_run=request.dry_run)
        rows = [convert.resource_row(message) for message in request.resources]
        groups = [convert.group_declared(message) for message in request.groups]
        created, changed, unchanged = await self._c.resources.apply(rows, groups, dry_run=request.dry_run)
        generation = await self._c.nodes.generation()
        return admin_pb2.ApplyResourcesResponse(
            created=created, changed=changed, unchanged=unchanged, generation=generation
        )

    async def ListResources(
        self, request: admin_pb2.ListResourcesRequest, context: Context
    ) -> admin_pb2.ListResourcesResponse:
        self._operator(context, "resource_list")
        found = await self._c.resources.all(request.node, request.site)
        groups = [convert.group(one) for one in await self._c.resources.groups()]
        return admin_pb2.ListResourcesResponse(
            resources=[convert.resource(row) for row in found], groups=groups
        )

    async def GetStatus(self, request: admin_pb2.GetStatusRequest, context: Context) -> admin_pb2.Status:
        del request
        self._operator(context, "status")
        issue = self._c.publisher.issue
        sets = await self._c.policy_sets.all()
        return admin_pb2.Status(
            trust_domain=self._c.made.trust_domain,
            version=metadata.version("writ-mesh"),
            generation=issue.generation if issue else 0,
            policy_min=sets.policy_min,
            policy_now=sets.policy_now,
            lease_s=self._c.publisher.lease_s,
            nodes=await self._all_nodes(""),
            root_sha256=self._c.made.root_sha256,
        )

    async def ListWitnessed(
        self, request: admin_pb2.ListWitnessedRequest, context: Context
    ) -> admin_pb2.ListWitnessedResponse:
        del request
        self._operator(context, "witnessed")
        logs = [
            admin_pb2.Witnessed(
                spiffe_id=str(node.spiffe_id),
                origin=row.origin,
                size=row.size,
                checkpoint=self._c.witness.cosigned(row).encode(),
                verifier_key=node.evidence_key,
                tallies=row.tallies.encode(),
            )
            for node, row in await self._c.witness.all()
        ]
        logs += [
            admin_pb2.Witnessed(
                spiffe_id=f"spiffe://{row.origin.replace('/audit/', '/', 1)}",
                origin=row.origin,
                size=row.size,
                checkpoint=self._c.witness.cosigned(row).encode(),
                verifier_key=row.evidence_key,
            )
            for row in await self._c.witness.own()
        ]
        return admin_pb2.ListWitnessedResponse(logs=logs, witness_key=str(self._c.witness.key).encode())

    # --- helpers -------------------------------------------------------------------------------------------------

    async def _node(self, node: str, site: str) -> admin_pb2.Node:
        row = await self._c.nodes.get(node, site)
        return convert.node(row, self._c.publisher.hub.agents.get(str(row.spiffe_id)))

    async def _all_nodes(self, site: str) -> list[admin_pb2.Node]:
        agents = self._c.publisher.hub.agents
        return [convert.node(row, agents.get(str(row.spiffe_id))) for row in await self._c.nodes.all(site)]

    def _push_renewal(self, row: NodeRow) -> None:
        self._c.publisher.hub.ask_to_renew(str(row.spiffe_id), row.renew_serial)
