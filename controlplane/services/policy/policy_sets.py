"""Policy versions as they were applied, to read again."""

from controlplane.api.gen import admin_pb2
from controlplane.model import PolicySetRow
from controlplane.services import rows
from controlplane.store.base import Store


class PolicySets:
    """Read access to stored policy versions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, version: int) -> admin_pb2.PolicySet:
        """The version, 0 for the one in force; NotFoundError when there is none."""
        number = version or (await rows.policy_state(self._store)).row.now
        stored = await rows.read(
            self._store, PolicySetRow, rows.policy_key(number), f"policy version `{number}`"
        )
        return _message(stored.row, with_text=True)

    async def all(self) -> admin_pb2.ListPoliciesResponse:
        state = (await rows.policy_state(self._store)).row
        sets = [
            _message(s.row, with_text=False)
            for s in await rows.every(self._store, PolicySetRow, "policy/set/")
        ]
        return admin_pb2.ListPoliciesResponse(
            sets=sets, policy_min=state.minimum, policy_now=state.now, shadow=state.shadow
        )

    async def status(self) -> admin_pb2.PolicyStatus:
        """Which versions count, without nodes."""
        state = (await rows.policy_state(self._store)).row
        sites = (await self.get(state.shadow)).sites if state.shadow else []
        return admin_pb2.PolicyStatus(
            policy_min=state.minimum,
            policy_now=state.now,
            staged=state.staged,
            shadow=state.shadow,
            shadow_sites=sites,
        )


def _message(row: PolicySetRow, *, with_text: bool) -> admin_pb2.PolicySet:
    message = admin_pb2.PolicySet(
        version=row.version,
        applied_at=row.applied_at,
        applied_by=row.applied_by,
        sites=row.sites,
        base=row.base,
        shadow=row.shadow,
        note=row.note,
    )
    for name, text in row.files.items() if with_text else ():
        message.source.files.add(name=name, text=text)
    return message
