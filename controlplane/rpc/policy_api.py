"""Admin's methods on policies: convert, call a service, convert."""

import asyncio

from controlplane.api.gen import admin_pb2
from controlplane.errors import InvalidError
from controlplane.model import ENROLLED
from controlplane.rpc import convert
from controlplane.rpc.operators import Collaborators, Context, OperatorsOnly
from controlplane.services.policy.rollout import Applied, How
from policies import lint
from policies.errors import Finding, PolicyError


class PolicyApi(OperatorsOnly):
    """The policy lines of `admin.proto`."""

    def __init__(self, collaborators: Collaborators) -> None:
        super().__init__(collaborators)
        self._rollouts: set[asyncio.Task[None]] = set()

    async def LintPolicy(self, request: admin_pb2.PolicySource, context: Context) -> admin_pb2.LintResponse:
        self._operator(context, "policy_lint")
        found = await self._lint(_files(request))
        return admin_pb2.LintResponse(findings=[convert.finding(one) for one in found])

    async def ApplyPolicy(
        self, request: admin_pb2.ApplyPolicyRequest, context: Context
    ) -> admin_pb2.ApplyPolicyResponse:
        facts = {"dry_run": request.dry_run, "shadow": request.shadow, "sites": list(request.sites)}
        how = How(
            by=self._operator(context, "policy_apply", **facts),
            now=request.now,
            dry_run=request.dry_run,
            shadow=request.shadow,
            sites=tuple(request.sites),
        )
        files = _files(request.source)
        try:
            applied = await self._c.rollout.apply(files, how)
        except PolicyError as exc:
            return admin_pb2.ApplyPolicyResponse(findings=[convert.finding(one) for one in exc.findings])
        done = await self._applied(applied, finish=not (request.dry_run or request.shadow))
        mesh = await self._c.explanation.mesh()
        remarks = await asyncio.to_thread(lint.remarks, applied.policies, mesh)
        done.findings.extend(map(convert.finding, remarks))
        return done

    async def PromotePolicy(
        self, request: admin_pb2.PromotePolicyRequest, context: Context
    ) -> admin_pb2.ApplyPolicyResponse:
        operator = self._operator(context, "policy_promote", sites=list(request.sites))
        how = How(by=operator, now=request.now, sites=tuple(request.sites))
        return await self._applied(await self._c.rollout.promote(how))

    async def RollbackPolicy(
        self, request: admin_pb2.RollbackPolicyRequest, context: Context
    ) -> admin_pb2.ApplyPolicyResponse:
        operator = self._operator(context, "policy_rollback", version=request.version)
        how = How(by=operator, now=request.now)
        return await self._applied(await self._c.rollout.rollback(request.version, how))

    async def WithdrawPolicy(
        self, request: admin_pb2.WithdrawPolicyRequest, context: Context
    ) -> admin_pb2.WithdrawPolicyResponse:
        del request
        self._operator(context, "policy_withdraw")
        return admin_pb2.WithdrawPolicyResponse(version=await self._c.rollout.withdraw())

    async def GetPolicyStatus(
        self, request: admin_pb2.GetPolicyStatusRequest, context: Context
    ) -> admin_pb2.PolicyStatus:
        del request
        self._operator(context, "policy_status")
        status, agents = await self._c.policy_sets.status(), self._c.publisher.hub.agents
        nodes = [row for row in await self._c.nodes.all("") if row.state == ENROLLED]
        status.nodes.extend(convert.node_policy(row, agents.get(str(row.spiffe_id))) for row in nodes)
        return status

    async def GetPolicy(self, request: admin_pb2.GetPolicyRequest, context: Context) -> admin_pb2.PolicySet:
        self._operator(context, "policy_show", version=request.version)
        return await self._c.policy_sets.get(request.version)

    async def ListPolicies(
        self, request: admin_pb2.ListPoliciesRequest, context: Context
    ) -> admin_pb2.ListPoliciesResponse:
        del request
        self._operator(context, "policy_list")
        return await self._c.policy_sets.all()

    async def ExplainPolicy(
        self, request: admin_pb2.ExplainRequest, context: Context
    ) -> admin_pb2.ExplainResponse:
        self._operator(context, "policy_explain", caller=request.caller)
        return await self._c.explanation.explain(request)

    async def DescribeBundle(
        self, request: admin_pb2.GetNodeRequest, context: Context
    ) -> admin_pb2.BundleDescription:
        self._operator(context, "policy_bundle", node=request.node, site=request.site)
        return await self._c.explanation.describe(request.node, request.site)

    async def _applied(self, applied: Applied, *, finish: bool = True) -> admin_pb2.ApplyPolicyResponse:
        if finish:
            task = asyncio.ensure_future(self._c.rollout.finish(applied.version))
            self._rollouts.add(task)
            task.add_done_callback(self._rollouts.discard)
        return admin_pb2.ApplyPolicyResponse(
            version=applied.version,
            generation=await self._c.nodes.generation(),
            policies=len(applied.policies),
            nodes=applied.bundles,
        )

    async def _lint(self, files: dict[str, str]) -> list[Finding]:
        """In a thread: a large set takes seconds, and heartbeats must not wait for it."""
        return await asyncio.to_thread(lint.lint, files, await self._c.explanation.mesh())


def _files(source: admin_pb2.PolicySource) -> dict[str, str]:
    files = {file.name: file.text for file in source.files}
    if len(files) != len(source.files):
        raise InvalidError("two policy files have one name")
    return files
