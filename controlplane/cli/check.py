"""`writ check`: is all well, and if not, what to do. Exit code 0 when nothing fails, 1 when something does."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import checks, output, session, store_checks
from controlplane.cli.checks import Line, State
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.cli.client import Client

MARKS = {State.OK: "ok  ", State.WARN: "warn", State.FAIL: "FAIL"}
NAMED = 200
UNRECORDED = "evidence log cannot be written"


def check(
    pre: Annotated[bool, typer.Option("--pre", help="Only whether this machine can run an agent.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
) -> None:
    """Check the mesh, or with --pre this machine: one line each, with the way out of what is not well."""
    found = _preflight() if pre else _mesh()
    if session.wants_json():
        output.emit_json([dataclasses.asdict(line) for line in found])
    else:
        _print(found)
    bad = {State.FAIL, State.WARN} if strict else {State.FAIL}
    count = sum(line.state in bad for line in found)
    if count:
        raise CliError(f"{count} of {len(found)} checks failed")


def _preflight() -> list[Line]:
    from controlplane.cli import preflight

    return list(preflight.lines())


def _mesh() -> list[Line]:
    try:
        with session.connect() as client:
            found = _looked(client)
        return [*found, *_others()]
    except CliError as exc:
        if UNRECORDED in exc.message:
            return [checks.unrecorded(exc.message, exc.hint)]
        if exc.code is Exit.UNREACHABLE and session.wants_json():
            line = Line(about="control plane", state=State.FAIL, text=exc.message, hint=exc.hint)
            output.emit_json([dataclasses.asdict(line)])
        raise


def _others() -> Iterator[Line]:
    """The other control planes of the context: each has a log of its own for what operators do there."""
    from controlplane.api.gen import admin_pb2

    for number, one in enumerate(session.connect_each()):
        if not number:
            continue  # it has answered already
        with one as client:
            about = f"`{client.context.address}`"
            try:
                client.call(client.stub.GetAnchors, admin_pb2.GetAnchorsRequest())
            except CliError as exc:
                if UNRECORDED in exc.message:
                    yield checks.unrecorded(f"{about}: {exc.message}", exc.hint)
                else:
                    yield Line(
                        about="control plane", state=State.WARN, text=f"{about}: {exc.message}", hint=exc.hint
                    )
            else:
                yield Line(
                    about="control plane",
                    state=State.OK,
                    text=f"{about} answers, and records what operators do",
                )


def _looked(client: "Client") -> list[Line]:
    from controlplane.api.gen import admin_pb2, overview_pb2

    before = time.time()
    mesh = client.call(client.overview.GetOverview, overview_pb2.GetOverviewRequest(limit=NAMED))
    after = time.time()
    here = checks.Here(
        operator_ends=_ends(client),
        clock_off_s=(before + after) / 2 - mesh.now_ms / 1000,
        now=int(after),
    )
    took = f"`{client.context.address}` answered in {(after - before) * 1000:.0f} ms, version {mesh.version}"
    federated = client.call(client.stub.ListFederations, admin_pb2.ListFederationsRequest()).federations
    roots = client.call(client.stub.ListRoots, admin_pb2.ListRootsRequest()).roots
    return [
        Line(about="control plane", state=State.OK, text=took),
        Line(about="evidence", state=State.OK, text="the control plane can record what operators do"),
        *checks.lines(mesh, here),
        *checks.changing_root(roots),
        *store_checks.lines(mesh.store),
        *checks.federations(federated),
    ]


def _ends(client: "Client") -> int:
    from cryptography import x509

    from controlplane.cli import signing_in

    context = client.context
    if context.token is not None:
        return signing_in.ends(context.token.read_text().strip())
    if context.certificate is None:
        raise RuntimeError("a context shows a certificate or a token")
    certificate = x509.load_pem_x509_certificate(context.certificate.read_bytes())
    return int(certificate.not_valid_after_utc.timestamp())


def _print(found: list[Line]) -> None:
    width = max(len(line.about) for line in found)
    for line in found:
        sys.stdout.write(f"{MARKS[line.state]}  {line.about.ljust(width)}  {output.safe(line.text)}\n")
        if line.hint:
            sys.stdout.write(f"      {' ' * width}  hint: {output.safe(line.hint)}\n")
