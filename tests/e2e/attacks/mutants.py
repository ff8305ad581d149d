"""How a control is switched off: a change of our own source or configuration, for as long as one test runs.

Each refuses to change what is not there, so that a mutant cannot outlive the line that it is about.
"""

import inspect
import sys
import textwrap
from typing import Any

import pytest
from attacks.control import Patch

from agent.envoy import authorize, classifier, listeners, pb
from agent.envoy.actions import Stamp


def code(owner: Any, name: str, *changes: str) -> Patch:
    """Change a function or method of `owner` (a module or class) in its source: old, new, and so on."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        found = inspect.getattr_static(owner, name)
        function = inspect.unwrap(getattr(found, "__func__", found))
        text = _changed(textwrap.dedent(inspect.getsource(function)), changes)
        made: dict[str, Any] = {}
        module = sys.modules[function.__module__]
        exec(compile(text, f"<mutant of {name}>", "exec", flags=0, dont_inherit=True), vars(module), made)
        monkeypatch.setattr(owner, name, made[name])

    return patch


def script(*changes: str) -> Patch:
    """Change the classifier that runs in Envoy, of both directions: old, new, and so on."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = classifier.source
        monkeypatch.setattr(classifier, "source", lambda *, egress: _changed(real(egress=egress), changes))

    return patch


def listener(direction: str, *path: str | int, value: Any) -> Patch:
    """Change a place in the document of one listener, `ingress` or `egress`."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(listeners, direction)

        def changed(settings: Any) -> dict[str, Any]:
            document: dict[str, Any] = real(settings)
            place: Any = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            return document

        monkeypatch.setattr(listeners, direction, changed)

    return patch


def no_filter(name: str) -> Patch:
    """Let one of the two rule filters, `forbids` or `permits`, allow everything, in both directions."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def everything(_rules: object, _peers: object, stamp: Stamp) -> Any:
            return authorize.RBAC(matcher=pb.always(pb.act(stamp.name("allow"), allow=True)))

        monkeypatch.setattr(authorize, name, everything)

    return patch


def both(*patches: Patch) -> Patch:
    """Several changes that only together switch one control off."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for one in patches:
            one(monkeypatch)

    return patch


def _changed(text: str, changes: tuple[str, ...]) -> str:
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        if old not in text:
            raise RuntimeError(f"a mutant is about a line that is gone: {old}")
        text = text.replace(old, new)
    return text
