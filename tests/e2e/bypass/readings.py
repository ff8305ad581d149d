"""What the most careless server could make of a request that reached it. Used to judge attacks, so it errs to the careless side.

A request has reached what is protected if any of its readings names the path `/admin`, the model `secret`, the tool
`secret`, or `secret` as the argument `path` of any tool. Everything is judged on what the backend received, never on what was sent.
"""

import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

PROTECTED = "secret"
Seen = dict[str, Any]


def protected(seen: Seen) -> str:
    """Why some server would have done what no policy permits; empty when none would."""
    for target in _targets(seen):
        for path in _paths(target.partition("?")[0]):
            if path == "/admin" or path.startswith("/admin/"):
                return f"the path `{path}`"
            if f"/{PROTECTED}/" in f"{path.lower()}/":
                return f"the model in `{path}`"
        if any(key.lower() == "model" and value == PROTECTED for key, value in _query(target)):
            return f"the query of `{target}`"
    for text in _texts(seen["body"].encode("latin-1")):
        if any(_names(value, _inside) for value in _values(text)):
            return "the body"
    return ""


def _targets(seen: Seen) -> Iterator[str]:
    yield seen["path"]
    for name, value in seen["headers"].items():
        if name.lower() in {"x-original-url", "x-rewrite-url", "x-forwarded-uri"}:
            yield value


def _paths(path: str) -> set[str]:
    """Every step a server may take, in every order, until nothing new comes. Not folding: policies compare paths byte for
    byte, and a permit by path permits no other spelling; only the paths of the table are protected from folding.
    """
    steps: tuple[Callable[[str], str], ...] = (
        unquote,
        lambda text: unquote(text.replace("%u00", "%")),
        lambda text: text.replace("\\", "/"),
        lambda text: re.sub(r";[^/]*", "", text),
        lambda text: re.sub(r"/+", "/", text),
        lambda text: re.sub(r"[\x00#?].*", "", text, flags=re.DOTALL),
        lambda text: text.rstrip("/. \t\r\n"),
        _dots,
        lambda text: re.sub(r"^\w+://[^/]*", "", text),
        lambda text: text if text.startswith("/") else "/" + text,
        lambda text: re.sub(
            r"%c0%ae", ".", re.sub(r"%c0%af", "/", text, flags=re.IGNORECASE), flags=re.IGNORECASE
        ),
        lambda text: unicodedata.normalize("NFC", text),
    )
    found, fresh = {path}, {path}
    while fresh:
        fresh = {step(text) for text in fresh for step in steps} - found
        found |= fresh
    return found


def _dots(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1] or [""]
        elif part != ".":
            kept.append(part)
    return "/".join(kept)


def _query(target: str) -> list[tuple[str, str]]:
    query = target.partition("?")[2]
    return [
        *parse_qsl(query, keep_blank_values=True),
        *parse_qsl(query.replace(";", "&"), keep_blank_values=True),
    ]


def _texts(body: bytes) -> Iterator[str]:
    for data in (body, *_inflated(body)):
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-7", "utf-32"):
            try:
                yield data.decode(encoding, "ignore" if encoding == "utf-8-sig" else "strict")
            except UnicodeError:
                continue


def _inflated(body: bytes) -> Iterator[bytes]:
    for inflate in (gzip.decompress, zlib.decompress):
        try:
            yield inflate(body)
        except (OSError, EOFError, zlib.error):
            continue


def _values(text: str) -> Iterator[Any]:
    """Every JSON value in a text, one behind another; members as pairs, so that doubles are seen."""
    decoder, at = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError):
            at += 1


class _Pairs(list[tuple[str, Any]]):
    """An object."""


def _names(value: Any, inside: Callable[[str, Any], bool]) -> bool:
    if isinstance(value, _Pairs):
        return any(inside(unicodedata.normalize("NFKC", key).casefold(), item) for key, item in value)
    return isinstance(value, list) and any(_names(item, inside) for item in value)  # a batch


def _inside(key: str, value: Any) -> bool:
    if key == "model":
        return value in (PROTECTED, [PROTECTED])
    return key == "params" and _names(value, _called)


def _called(key: str, value: Any) -> bool:
    """The tool, or the one argument that policies ask for."""
    if key == "arguments":
        return _names(value, lambda name, item: name == "path" and PROTECTED in str(item))
    return key == "name" and value == PROTECTED
