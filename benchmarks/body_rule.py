"""What it costs to decide on `model` in a body: the same callee, the same bodies, the same rule on the request line instead.

Two plain Envoys over mTLS; at the second the classifier of the product and one RBAC rule on what it found. `body` names
the model in its JSON, `head` in its path, where the body goes by unread. Beside it Envoy's own `json_to_metadata` with
RBAC, against RBAC on a header, neither with our classifier. Rounds are interleaved; each distinct body is as large as its
name says, with escapes, as prompts are.
"""

import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.envoy import classifier
from benchmarks import plain
from benchmarks.mesh import backend, two_nodes
from benchmarks.rows import Row

ROUNDS, SECONDS, CONNECTIONS = 5, 3, 32
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
TYPE = "type.googleapis.com/envoy.extensions.filters.http."
CLAIMS = {"writ-purpose": "treatment", "writ-data-class": "1"}
CHAT, INFER = "/v1/chat/completions", "/v2/models/ngram/infer"


@dataclass(frozen=True)
class Way:
    """Where a request goes, and as what."""

    name: str
    port: int
    path: str


def run(directory: Path) -> list[Row]:
    with backend(directory) as port, two_nodes(directory, port) as mesh, ExitStack() as stack:
        ours, header, other = (
            stack.enter_context(plain.pair(directory, mesh, port, name=name, filters=filters))
            for name, filters in _filters()
        )
        ways = [
            Way("body", ours, CHAT),
            Way("head", ours, INFER),
            Way("json_to_metadata", other, CHAT),
            Way("header", header, CHAT),
        ]
        return [row for name, size in SIZES.items() for row in _measure(directory, name, _body(size), ways)]


def _measure(directory: Path, size: str, body: bytes, ways: list[Way]) -> list[Row]:
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in ways if number % 2 else reversed(ways):
            rate = _wrk(directory, way, body)
            if number:  # the first round warms up
                rates[way.name].append(rate)
    for name, measured in rates.items():
        print(f"    {size:>4} {name:<18} {statistics.median(measured):8.0f}/s")
    bounds = (0.85, 0.7) if size == "10k" else (0.7, 0.5)
    return [
        _row(
            f"body_rule_{size}_ratio", rates["body"], rates["head"], bounds, "same rule on the request line"
        ),
        _row(
            f"json_to_metadata_{size}_ratio",
            rates["json_to_metadata"],
            rates["header"],
            (0, 0),
            "RBAC on a header",
        ),
    ]


def _row(name: str, ours: list[float], theirs: list[float], bounds: tuple[float, float], peer: str) -> Row:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Row(
        name=name,
        value=statistics.median(ratios),
        unit="x",
        target=bounds[0],
        floor=bounds[1],
        better="higher",
        peer=peer,
        n=ROUNDS,
        spread=f"{min(ratios):.2f}-{max(ratios):.2f}",
    )


def _body(size: int) -> bytes:
    """Messages with quotes and line ends, and the model behind them."""
    text = 'He said "no".\nThen he left, and nobody knew why.\n'
    message = {"role": "user", "content": text}
    count = max(1, size // len(json.dumps(message)))
    return json.dumps({"messages": [message] * count, "model": "ngram"}).encode()


def _filters() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    script = {"inline_string": classifier.source(egress=False)}
    lua = {"name": "lua", "typed_config": {"@type": TYPE + "lua.v3.Lua", "default_source_code": script}}
    yield "classified", [lua, _rbac({"header": _equals("writ-resource", "Model/ngram")})]
    yield "headed", [_rbac({"header": _equals("x-model", "ngram")})]
    on = {"metadata_namespace": "ai", "key": "model"}
    rule = {"selectors": [{"key": "model"}], "on_present": on}
    config = {"@type": TYPE + "json_to_metadata.v3.JsonToMetadata", "request_rules": {"rules": [rule]}}
    said = {"filter": "ai", "path": [{"key": "model"}], "value": {"string_match": {"exact": "ngram"}}}
    yield "metadata", [{"name": "json", "typed_config": config}, _rbac({"metadata": said})]


def _equals(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


def _rbac(permission: dict[str, Any]) -> dict[str, Any]:
    rules = {
        "action": "ALLOW",
        "policies": {"one": {"permissions": [permission], "principals": [{"any": True}]}},
    }
    return {"name": "rbac", "typed_config": {"@type": TYPE + "rbac.v3.RBAC", "rules": rules}}


def _wrk(directory: Path, way: Way, body: bytes) -> float:
    """Requests a second; all must have been allowed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; `python -m benchmarks datapath` installs it")
    script = directory / "body_rule.lua"
    headers = {"content-type": "application/json", "x-model": "ngram", **CLAIMS}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\n' + "\n".join(lines))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script)]
    url = f"http://127.0.0.1:{way.port}{way.path}"
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or found is None:
        raise SystemExit(f"{way.name}: not all requests were allowed:\n{said}")
    return float(found[1])
