"""Files an operator hands to `writ`: bounded, strict YAML or JSON, every error with its file and place.

YAML's surprises are refused: duplicate keys (one would silently win), aliases and merges (a small file could grow
without bound), tags, several documents, bottomless nesting. Unknown fields are errors: a typo must not pass as a default.
"""

import contextlib
import json
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from controlplane.cli.errors import CliError, Exit

MAX_BYTES = 1 << 20
MAX_JSON_BYTES = (
    64 << 20
)  # a whole mesh, as `writ policy context` prints it: read a hundred times faster than YAML
MAX_DEPTH = 32
RESOURCE: dict[str, type] = {
    "kind": str,
    "name": str,
    "node": str,
    "port": int,
    "groups": list,
    "owner": str,
    "max_class": int,
}
REQUIRED = {"kind", "name", "node", "port"}
GROUP: dict[str, type] = {"kind": str, "name": str, "groups": list}


class _Strict(yaml.SafeLoader):
    """Safe loader without aliases, merges and duplicate keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        where = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError(f"{where}: anchors and aliases are not allowed")
        if self._depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"{where}: nested deeper than {MAX_DEPTH}")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            where = f"line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(f"{where}: a key must be a plain word")
            if key.value in seen:
                raise yaml.YAMLError(f"{where}: `{key.value}` occurs twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """One decoded YAML document."""
    try:
        value: object = yaml.load(read_text(path), _Strict)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: a date that does not exist
        raise CliError(f"`{path}` is not valid YAML: {exc}", code=Exit.USAGE) from exc
    return value


def read_json(path: Path) -> object:
    """One decoded JSON document without duplicate keys."""
    text = read_text(path, MAX_JSON_BYTES)
    try:
        value: object = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as exc:
        raise CliError(f"`{path}` is not valid JSON: {exc}", code=Exit.USAGE) from exc
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A whole text file, or standard input for `-`: bounded, and UTF-8."""
    try:
        with contextlib.ExitStack() as closing:
            file = sys.stdin.buffer if str(path) == "-" else closing.enter_context(path.open("rb"))
            raw = file.read(max_bytes + 1)
    except OSError as exc:
        raise CliError(f"cannot read `{path}`: {exc.strerror}", code=Exit.USAGE) from exc
    if len(raw) > max_bytes:
        raise CliError(f"`{path}` is larger than {max_bytes} bytes", code=Exit.USAGE)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CliError(f"`{path}` is not UTF-8 at byte {exc.start}", code=Exit.USAGE) from exc


def read_resources(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(resources, groups) of one file; types and field names are checked, meanings are the server's."""
    document = read_yaml(path)
    if not isinstance(document, dict) or set(document) - {"resources", "groups"}:
        raise CliError(f"`{path}` must hold `resources` and `groups`, and nothing else", code=Exit.USAGE)
    resources = _entries(path, document, "resources", RESOURCE, REQUIRED)
    return resources, _entries(path, document, "groups", GROUP, {"kind", "name"})


def _entries(
    path: Path, document: dict[str, Any], part: str, fields: dict[str, type], required: set[str]
) -> list[dict[str, Any]]:
    entries = document.get(part) or []
    if not isinstance(entries, list):
        raise CliError(f"`{path}`: `{part}` must be a list", code=Exit.USAGE)
    for number, entry in enumerate(entries, 1):
        where = f"`{path}`: {part}[{number}]"
        if not isinstance(entry, dict):
            raise CliError(f"{where} must be a mapping", code=Exit.USAGE)
        if missing := sorted(required - set(entry)):
            raise CliError(f"{where} lacks `{missing[0]}`", code=Exit.USAGE)
        for key, value in entry.items():
            _check(where, key, value, fields)
    return entries


def _check(where: str, key: object, value: object, fields: dict[str, type]) -> None:
    wanted = fields.get(str(key))
    if wanted is None:
        hint = "known fields: " + ", ".join(fields)
        raise CliError(f"{where}: unknown field `{key}`", code=Exit.USAGE, hint=hint)
    right = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    if not right or (wanted is int and not 0 <= int(str(value)) <= 65535):  # noqa: PLR2004 - the largest port
        raise CliError(f"{where}: `{key}` must be a {wanted.__name__}", code=Exit.USAGE)
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise CliError(f"{where}: `{key}` must be a list of strings", code=Exit.USAGE)
