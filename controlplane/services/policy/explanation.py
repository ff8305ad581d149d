"""Explain a request that somebody imagines: with the attributes and policies the control plane holds now."""

import ipaddress
import time

from controlplane import model
from controlplane.api.gen import admin_pb2
from controlplane.errors import InvalidError, NotFoundError
from controlplane.model import ENROLLED, NodeRow, ResourceRow
from controlplane.services import rows
from controlplane.services.push.bundles import facts, principal
from controlplane.services.push.publish import Publisher
from controlplane.store.base import Store
from policies import arguments, wording
from policies.compile import compile_egress, compile_ingress
from policies.explain import explain
from policies.inventory import inventory
from policies.mesh import Mesh, completed
from policies.model import ACTIONS, Code, Request, ResourceKey, Rule
from policies.requests import accept_claims


class Explaining:
    """Answers `writ policy explain`."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store, self._publisher = store, publisher

    async def mesh(self) -> Mesh:
        """What policies are held against."""
        return await known_mesh(self._store)

    async def explain(self, asked: admin_pb2.ExplainRequest) -> admin_pb2.ExplainResponse:
        state = (await rows.policy_state(self._store)).row
        groups = rows.groups(state)
        caller = groups.caller(principal((await rows.read_node(self._store, *_node(asked.caller))).row))
        if asked.action not in ACTIONS:
            raise InvalidError(
                f"`{asked.action[:32]}` is no action", hint="actions: " + ", ".join(sorted(ACTIONS))
            )
        key = _resource(asked.resource)
        found = await rows.every(self._store, ResourceRow, "resource/")
        owner = await rows.find(self._store, NodeRow, rows.node_key(*_node(key.node)))
        if owner is None:
            raise NotFoundError(f"there is no node `{key.node}`")
        claims = accept_claims(
            caller, asked.purpose or None, asked.data_class or None, asked.subject_region or None
        )
        if claims is None:
            return admin_pb2.ExplainResponse(decision="deny", code=Code.CLAIM_NOT_ALLOWED.value)
        request = Request(
            principal=caller,
            action=asked.action,
            resource=key,
            purpose=claims.purpose,
            data_class=claims.data_class,
            subject_region=claims.subject_region,
            protocol="openai",
            method=asked.method,
            path=asked.path,
            stream=asked.stream,
            now_ms=asked.at_ms or int(time.time() * 1000),
            source_ip=_address(asked.source_ip),
            arguments=arguments.of(asked.arguments),
        )
        site = owner.row.site
        policies = await self._publisher.versions.policies(
            await self._publisher.versions.source(state.now, site)
        )
        described = [
            groups.resource(facts(s.row, owner.row.jurisdiction, owner.row.groups))
            for s in found
            if f"{s.row.node}.{s.row.site}" == key.node
        ]
        said = explain(policies, described, request)
        return admin_pb2.ExplainResponse(
            decision="allow" if said.decision.allowed else "deny",
            code=said.decision.code.value if said.decision.code else "",
            because=said.decision.because,
            clauses=[
                admin_pb2.Clause(
                    policy=trace.id, effect=trace.effect.value, text=clause.text, value=clause.word
                )
                for trace in said.traces
                for clause in trace.clauses
            ],
        )

    async def describe(self, node: str, site: str) -> admin_pb2.BundleDescription:
        """What `node` is given under the policies in force, and why."""
        mine = (await rows.read_node(self._store, node, site)).row
        nodes = {one.row.short: one.row for one in await rows.every(self._store, NodeRow, "node/")}
        alive = {name for name, row in nodes.items() if row.state == model.ENROLLED}
        state = (await rows.policy_state(self._store)).row
        groups = rows.groups(state)
        declared = [
            groups.resource(facts(one.row, nodes[owner].jurisdiction, nodes[owner].groups))
            for one in await rows.every(self._store, ResourceRow, "resource/")
            if (owner := f"{one.row.node}.{one.row.site}") in alive
        ]
        version = state.now
        policies = groups.spelled_out(
            await self._publisher.versions.policies(await self._publisher.versions.source(version, mine.site))
        )
        remote = [one for one in declared if one.key.node != mine.short]
        ingress = compile_ingress(policies, [one for one in declared if one.key.node == mine.short])
        egress = compile_egress(policies, groups.caller(principal(mine)), remote)
        elsewhere = {rule.id for rule in compile_ingress(policies, remote).rules}
        found = inventory(policies, ingress, egress, elsewhere)
        return admin_pb2.BundleDescription(
            policy_version=version,
            as_callee=map(_rule, found.as_callee),
            as_caller=map(_rule, found.as_caller),
            peers=[
                admin_pb2.BundlePeer(
                    node=peer.node,
                    address=nodes[peer.node].address,
                    resources=map(_resource_text, peer.resources),
                    policies=peer.policies,
                )
                for peer in found.peers
            ],
            dropped=[admin_pb2.DroppedPolicy(policy=id_, why=why) for id_, why in found.dropped.items()],
        )


def _rule(rule: Rule) -> admin_pb2.BundleRule:
    return admin_pb2.BundleRule(
        policy=rule.id,
        effect=rule.effect.value,
        actions=sorted(rule.actions),
        resources=map(_resource_text, sorted(rule.resources)),
        condition=wording.condition(rule.when),
    )


def _resource_text(key: ResourceKey) -> str:
    return f"{key.kind}/{key.uid}"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Where the request comes from; unknown, rules that ask for it cannot be evaluated."""
    try:
        return ipaddress.ip_address(text) if text else None
    except ValueError as exc:
        raise InvalidError(f"`{text[:64]}` is no address") from exc


async def known_mesh(store: Store) -> Mesh:
    """Enrolled nodes and what they serve."""
    nodes = {
        stored.row.short: stored.row
        for stored in await rows.every(store, NodeRow, "node/")
        if stored.row.state == ENROLLED
    }
    declared = [stored.row for stored in await rows.every(store, ResourceRow, "resource/")]
    served = [(row, nodes.get(f"{row.node}.{row.site}")) for row in declared]
    mesh = Mesh(
        nodes=tuple(principal(row) for row in nodes.values()),
        resources=tuple(
            facts(row, owner.jurisdiction, owner.groups) for row, owner in served if owner is not None
        ),
    )
    return completed(mesh, rows.groups((await rows.policy_state(store)).row))


def _node(text: str) -> tuple[str, str]:
    node, dot, site = text.partition(".")
    if not (node and dot and site):
        raise InvalidError(f"`{text[:64]}` is no node", hint="write `<node>.<site>`")
    return node, site


def _resource(text: str) -> ResourceKey:
    kind, slash, uid = text.partition("/")
    name, at, node = uid.rpartition("@")
    if not (slash and at and kind and name and node):
        raise InvalidError(f"`{text[:64]}` is no resource", hint="write `Model/<name>@<node>.<site>`")
    return ResourceKey(kind, name, node)
