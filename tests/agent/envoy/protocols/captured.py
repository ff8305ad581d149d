"""Requests of real clients, as they were sent: kept as JSON beside this file, with the client's name and version."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "captured"


@dataclass(frozen=True)
class Captured:
    """One request. `messages` are a gRPC call's; `body` is everything else's."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    messages: tuple[bytes, ...] = ()

    @property
    def is_grpc(self) -> bool:
        return bool(self.messages)


def load(client: str) -> list[Captured]:
    """In the order they were sent."""
    document = json.loads((FOLDER / f"{client}.json").read_text())
    return [_parse(one) for one in document["requests"]]


def save(client: str, version: str, requests: list[Captured]) -> None:
    document = {"client": f"{client} {version}", "requests": [_render(one) for one in requests]}
    (FOLDER / f"{client}.json").write_text(json.dumps(document, indent=1) + "\n")


def _parse(one: Mapping[str, Any]) -> Captured:
    return Captured(
        method=one["method"],
        target=one["target"],
        headers=tuple(_split(line) for line in one["headers"]),
        body=_bytes(one.get("body", "")),
        messages=tuple(_bytes(message) for message in one.get("messages", ())),
    )


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


def _render(one: Captured) -> dict[str, Any]:
    made: dict[str, Any] = {
        "method": one.method,
        "target": one.target,
        "headers": [": ".join(header) for header in one.headers],
    }
    if one.messages:
        made["messages"] = [_text(message) for message in one.messages]
    elif one.body:
        made["body"] = _text(one.body)
    return made


def _text(data: bytes) -> str | dict[str, str]:
    if data.isascii() and data.decode("ascii").replace("\r", "").replace("\n", "").isprintable():
        return data.decode("ascii")
    return {"base64": base64.b64encode(data).decode()}


def _bytes(value: str | Mapping[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
