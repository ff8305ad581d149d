"""The classifier as Envoy runs it: `classify.lua` with the normative table of `policies.requests` written in."""

from functools import lru_cache
from importlib import resources

from policies.requests import FALLBACK, TABLE, Endpoint
from policies.scan import MAX_DEPTH


@lru_cache(maxsize=2)
def source(*, egress: bool) -> str:
    """The script for one direction."""
    exact = [row for row in TABLE if not row.path.endswith("{name}")]
    below = [row for row in TABLE if row.path.endswith("{name}")]
    text = resources.files("agent.envoy").joinpath("classify.lua").read_text("utf-8")
    values = {
        "@EGRESS@": "true" if egress else "false",
        "@EXACT@": _table(f"[{_text(f'{row.method} {row.path}')}] = {_row(row)}" for row in exact),
        "@BELOW@": _table(
            f"{{{_text(row.method)}, {_text(row.path.removesuffix('{name}'))}, {_row(row)}}}" for row in below
        ),
        "@PATHS@": _table(f"[{_text(row.path)}] = true" for row in TABLE),
        "@FALLBACK@": _row(FALLBACK),
        "@MAX_DEPTH@": str(MAX_DEPTH),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _row(row: Endpoint) -> str:
    fields = (row.protocol, row.action, row.kind, row.field, row.name)
    return "{" + ", ".join(map(_text, fields)) + "}"


def _table(items: object) -> str:
    return "{" + ", ".join(items) + "}"  # type: ignore[arg-type]  # an iterable of text


def _text(value: str) -> str:
    if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
        raise RuntimeError("the table holds plain text only")
    return f'"{value}"'
