"""The part of Admin that is about federation with other trust domains."""

from certs.federation import Relationship
from controlplane.api.gen import admin_pb2
from controlplane.rpc.operators import Context, OperatorsOnly
from controlplane.services.federation.relationships import Federated


class FederationServicer(OperatorsOnly):
    """The lines of `admin.proto` about federation."""

    async def AddFederation(
        self, request: admin_pb2.AddFederationRequest, context: Context
    ) -> admin_pb2.Federation:
        asked = request.federation
        wanted = Relationship(
            trust_domain=asked.trust_domain,
            url=asked.url,
            profile=asked.profile,
            endpoint_id=asked.endpoint_id,
        )
        self._operator(context, "federation_add", trust_domain=asked.trust_domain, url=asked.url)
        return _federation(
            await self._c.identities.federation.add(wanted, asked.bundle, replace=request.replace)
        )

    async def ListFederations(
        self, request: admin_pb2.ListFederationsRequest, context: Context
    ) -> admin_pb2.ListFederationsResponse:
        del request
        self._operator(context, "federation_list")
        found = [_federation(one) for one in await self._c.identities.federation.all()]
        for one in found:
            one.ClearField("bundle")  # all together may be more than a message holds
        profile, endpoint_id = self._c.identities.endpoint
        return admin_pb2.ListFederationsResponse(federations=found, profile=profile, endpoint_id=endpoint_id)

    async def GetFederation(
        self, request: admin_pb2.GetFederationRequest, context: Context
    ) -> admin_pb2.Federation:
        self._operator(context, "federation_show", trust_domain=request.trust_domain)
        return _federation(await self._c.identities.federation.get(request.trust_domain))

    async def RemoveFederation(
        self, request: admin_pb2.GetFederationRequest, context: Context
    ) -> admin_pb2.RemoveFederationResponse:
        self._operator(context, "federation_remove", trust_domain=request.trust_domain)
        await self._c.identities.federation.remove(request.trust_domain)
        return admin_pb2.RemoveFederationResponse()


def _federation(found: Federated) -> admin_pb2.Federation:
    of, held = found.relationship, found.bundle
    return admin_pb2.Federation(
        trust_domain=of.trust_domain,
        url=of.url,
        profile=of.profile,
        endpoint_id=of.endpoint_id,
        bundle=held.document.encode() if held else b"",
        since=held.since if held else 0,
        answered_at=found.polled.answered_at,
        error=found.polled.error,
    )
