"""Sessions are bound to the caller that they were given to: `sessions.lua` as Envoy runs it, on the paths that have sessions.

A session id is a secret that servers take from whoever presents it. Policy decides each request on the caller's own
certificate, so a stolen one opens no model, tool or purpose; it would open what the session holds: answers still to come,
what was said before. The key stays with the node, so that sessions outlive a restart of Envoy.
"""

import secrets
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from controlplane.api import files
from policies.table import TABLE

NAME = "writ.sessions"
KEY_BYTES, BLOCK_BYTES = 32, 64  # of SHA-256
INNER, OUTER = 0x36, 0x5C  # RFC 2104


def key(directory: Path) -> bytes:
    """This node's key; made when there is none. One that cannot be used is replaced: sessions end, nothing opens."""
    path = directory / "session.key"
    known = files.read(path)
    if known is not None and len(known) == KEY_BYTES:
        return known
    made = secrets.token_bytes(KEY_BYTES)
    files.write(path, made)
    return made


def paths() -> list[str]:
    """Where requests may name a session."""
    return list(dict.fromkeys(row.path for row in TABLE if row.session))


def http_filter(secret: bytes) -> dict[str, Any]:
    """The filter, switched off."""
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": source(secret)},
    }
    return {"name": NAME, "disabled": True, "typed_config": config}


@cache
def source(secret: bytes) -> str:
    """The script with the key in it, as HMAC takes it: bytes as Lua writes them."""
    text = resources.files("agent.envoy").joinpath("sessions.lua").read_text("utf-8")
    for name, pad in (("@INNER@", INNER), ("@OUTER@", OUTER)):
        padded = bytes(byte ^ pad for byte in secret.ljust(BLOCK_BYTES, b"\0"))
        text = text.replace(name, '"' + "".join(f"\\{byte:03}" for byte in padded) + '"')
    return text
