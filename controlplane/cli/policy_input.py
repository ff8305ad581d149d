"""What the `writ policy` commands work on: Cedar files, what is known of the mesh, cases. Files first, no surprises.

The mesh comes from a file (`--context-file`), or from the control plane where there is none.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli import documents, session
from controlplane.cli.errors import CliError, Exit
from policies import hierarchy, parse, templates
from policies import mesh as meshes
from policies.errors import InputError, PolicyError
from policies.mesh import Mesh
from policies.model import Principal
from policies.operands import ResourceFacts
from policies.syntax import Policy

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2
    from controlplane.cli.client import Client


def sources(paths: list[Path]) -> dict[str, str]:
    """File name -> text. Two files of one name would be told apart nowhere: an error."""
    found: dict[str, str] = {}
    for path in expand(paths, ".cedar", templates.SUFFIX):
        if path.name in found:
            raise CliError(f"two files are called `{path.name}`", code=Exit.USAGE, hint="rename one")
        found[path.name] = documents.read_text(path)
    return found


def expand(paths: list[Path], *suffixes: str) -> list[Path]:
    """A directory stands for its files with one of these suffixes; the first is what it must have."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(one for suffix in suffixes for one in path.glob(f"*{suffix}"))
        found += inside if path.is_dir() else [path]
    if not found:
        raise CliError(
            f"no *{suffixes[0]} files found", code=Exit.USAGE, hint="name files or a directory of them"
        )
    return found


def policies(paths: list[Path]) -> tuple[Policy, ...]:
    return parsed(sources(paths))


def parsed(files: dict[str, str]) -> tuple[Policy, ...]:
    """Policies that could be applied; everything that is wrong with them is one error."""
    try:
        with ThreadPoolExecutor(max_workers=1) as validating:
            return parse.load(files, validating.map)
    except PolicyError as exc:
        more = f" (and {len(exc.findings) - 1} more)" if len(exc.findings) > 1 else ""
        raise CliError(f"{exc.findings[0]}{more}", hint="writ policy lint") from exc


def known_mesh(context_file: Path | None) -> Mesh:
    """From the file if there is one, else from the control plane."""
    if context_file is not None:
        return read_mesh(context_file)
    with session.connect() as client:
        return ask_mesh(client)


def read_mesh(path: Path) -> Mesh:
    document = documents.read_json(path) if path.suffix == ".json" else documents.read_yaml(path)
    try:
        return meshes.load(document)
    except InputError as exc:
        raise invalid(path, exc) from exc


def ask_mesh(client: "Client") -> Mesh:
    """Nodes that are enrolled, and what they serve, as the control plane has them now."""
    from controlplane.api.gen import admin_pb2

    nodes = client.call(client.stub.ListNodes, admin_pb2.ListNodesRequest()).nodes
    found = {f"{node.node}.{node.site}": _principal(node) for node in nodes if node.state == "enrolled"}
    declared = client.call(client.stub.ListResources, admin_pb2.ListResourcesRequest())
    served = [(item, found.get(f"{item.node}.{item.site}")) for item in declared.resources]
    groups = {(one.kind, one.name): list(one.within.groups) for one in declared.groups}
    mesh = Mesh(
        nodes=tuple(found[name] for name in sorted(found)),
        resources=tuple(_facts(item, owner) for item, owner in served if owner is not None),
    )
    return meshes.completed(mesh, hierarchy.read(groups))


def invalid(path: Path, exc: InputError) -> CliError:
    return CliError(f"`{path}`: {exc}", code=Exit.USAGE, hint=exc.hint)


def _principal(node: "admin_pb2.Node") -> Principal:
    has = node.attributes
    return Principal(
        node=f"{node.node}.{node.site}",
        site=node.site,
        jurisdiction=node.jurisdiction,
        tier=node.tier,
        groups=frozenset(has.groups),
        purposes=frozenset(has.purposes),
        regions=frozenset(has.regions),
        class_floor=has.class_floor,
        class_ceiling=has.class_ceiling,
    )


def _facts(item: "admin_pb2.Resource", owner: Principal) -> ResourceFacts:
    return ResourceFacts(
        key=meshes.key(f"{item.kind}/{item.name}@{owner.node}"),
        groups=frozenset(item.groups),
        owner=item.owner,
        max_class=item.max_class,
        site=owner.site,
        jurisdiction=owner.jurisdiction,
        node_groups=owner.groups,
    )
