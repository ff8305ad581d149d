"""The options that say what a node is: shared by `token create` and `node set`.

These attributes are written into the node's certificate by the control plane; a node never says them of itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

Tier = Annotated[
    int | None, typer.Option(help="Count its attestation for no more than this, 0 to 4.", min=0, max=4)
]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="Group; may be repeated. An empty one clears.")
]
Purposes = Annotated[
    list[str] | None, typer.Option("--purpose", help="Purpose it may claim; may be repeated.")
]
Regions = Annotated[
    list[str] | None, typer.Option("--region", help="Subject region it may claim; may be repeated.")
]
Floor = Annotated[
    int | None, typer.Option("--class-floor", help="Lowest data class of what it sends.", min=0, max=4)
]
Ceiling = Annotated[
    int | None, typer.Option("--class-ceiling", help="Highest data class it may send.", min=0, max=4)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the operator gave; None keeps what is there."""

    tier: int | None
    groups: list[str] | None
    purposes: list[str] | None
    regions: list[str] | None
    class_floor: int | None
    class_ceiling: int | None

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__slots__)

    def over(self, old: "admin_pb2.Attributes") -> "admin_pb2.Attributes":
        """`old` with the given values in place of its own."""
        from controlplane.api.gen import admin_pb2

        new = admin_pb2.Attributes()
        new.CopyFrom(old)
        for name in ("tier", "class_floor", "class_ceiling"):
            if getattr(self, name) is not None:
                setattr(new, name, getattr(self, name))
        for name in ("groups", "purposes", "regions"):
            if getattr(self, name) is not None:
                del getattr(new, name)[:]
                getattr(new, name).extend(value for value in getattr(self, name) if value)
        return new


def document(attributes: "admin_pb2.Attributes") -> dict[str, object]:
    return {
        "tier": attributes.tier,
        "groups": sorted(attributes.groups),
        "purposes": sorted(attributes.purposes),
        "regions": sorted(attributes.regions),
        "class_floor": attributes.class_floor,
        "class_ceiling": attributes.class_ceiling,
    }
