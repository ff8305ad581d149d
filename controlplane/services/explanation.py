"""Explain a request that somebody imagines: with the attributes and policies the control plane holds now."""

from controlplane.api.gen import admin_pb2
from controlplane.errors import InvalidError, NotFoundError
from controlplane.model import ENROLLED, NodeRow, ResourceRow
from controlplane.services import rows
from controlplane.services.bundles import facts, principal
from controlplane.services.publish import Publisher
from controlplane.store.base import Store
from policies.explain import explain
from policies.mesh import Mesh
from policies.model import ACTIONS, Code, Request, ResourceKey
from policies.requests import accept_claims


class Explaining:
    """Answers `writ policy explain`."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store, self._publisher = store, publisher

    async def mesh(self) -> Mesh:
        """What policies are held against."""
        return await known_mesh(self._store)

    async def explain(self, asked: admin_pb2.ExplainRequest) -> admin_pb2.ExplainResponse:
        caller = principal((await rows.read_node(self._store, *_node(asked.caller))).row)
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
        )
        state = (await rows.policy_state(self._store)).row
        site = owner.row.site
        policies = await self._publisher.versions.policies(
            await self._publisher.versions.source(state.now, site)
        )
        described = [
            facts(s.row, owner.row.jurisdiction) for s in found if f"{s.row.node}.{s.row.site}" == key.node
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


async def known_mesh(store: Store) -> Mesh:
    """Enrolled nodes and what they serve."""
    nodes = {
        stored.row.short: stored.row
        for stored in await rows.every(store, NodeRow, "node/")
        if stored.row.state == ENROLLED
    }
    declared = [stored.row for stored in await rows.every(store, ResourceRow, "resource/")]
    served = [(row, nodes.get(f"{row.node}.{row.site}")) for row in declared]
    return Mesh(
        nodes=tuple(principal(row) for row in nodes.values()),
        resources=tuple(facts(row, owner.jurisdiction) for row, owner in served if owner is not None),
    )


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
