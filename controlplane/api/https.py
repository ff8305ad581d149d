"""Small documents over HTTPS: bounded in size and time, verified, never redirected, through no proxy. Blocking.

What an identity provider serves decides who administers: a redirect would let whoever serves it choose another source, and a
slow or endless answer must not hold anybody.
"""

import http.client
import ssl
import time
import urllib.parse
from pathlib import Path

MAX_BYTES = 256 << 10
TIMEOUT_S = 5.0
CHUNK = 16 << 10


class HttpsError(Exception):
    """The document could not be had."""


def get(url: str, ca_file: Path | None) -> bytes:
    """The body of a 200."""
    status, body = _ask("GET", url, ca_file, b"", {"accept": "application/json"})
    if status != http.client.OK:
        raise HttpsError(f"`{url}` answered {status}")
    return body


def post(url: str, form: dict[str, str], ca_file: Path | None) -> tuple[int, bytes]:
    """(status, body) of a form that was sent."""
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    return _ask("POST", url, ca_file, urllib.parse.urlencode(form).encode(), headers)


def check_url(url: str) -> str:
    """The URL, if it is `https://host…` and nothing that two readers could read differently."""
    try:
        found = urllib.parse.urlsplit(url)
        plain = found.scheme == "https" and bool(found.hostname) and found.port != 0
    except ValueError:
        plain = False
    if (
        not plain
        or found.username is not None
        or found.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise HttpsError(f"`{url[:128]}` is no plain https URL")
    return url


def _ask(
    method: str, url: str, ca_file: Path | None, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    found = urllib.parse.urlsplit(check_url(url))
    path = (found.path or "/") + (f"?{found.query}" if found.query else "")
    deadline = time.monotonic() + TIMEOUT_S
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        connection = http.client.HTTPSConnection(
            str(found.hostname), found.port, timeout=TIMEOUT_S, context=context
        )
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, _read(answer, url, deadline)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise HttpsError(f"`{url}` cannot be read: {exc}") from exc


def _read(answer: http.client.HTTPResponse, url: str, deadline: float) -> bytes:
    """The whole body; a server that drips is left at the deadline."""
    body = b""
    while chunk := answer.read1(CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise HttpsError(f"`{url}` answered more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise HttpsError(f"`{url}` takes longer than {TIMEOUT_S:.0f} s")
    return body
