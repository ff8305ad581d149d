"""`writ policy explain|simulate|suggest`: policies held against one request, or against what was recorded.

All is decided here, by the same code as everywhere, from files or from what the control plane says.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, session
from controlplane.cli.errors import CliError, Exit
from controlplane.cli.policy_check import ContextFile, Files

if TYPE_CHECKING:
    from policies.explain import Explanation
    from policies.recorded import Recorded
    from policies.simulate import Simulation

Records = Annotated[
    list[Path],
    typer.Option(
        "--records", help="Evidence directory, or a file of JSON lines. Repeat it for several nodes."
    ),
]


def simulate(files: Files, records: Records, context_file: ContextFile = None) -> None:
    """Replay recorded decisions against a new policy set: what would be newly allowed, what newly denied, by flow.

    Callers count with the attributes that they have now. Records that cannot be replayed are counted, with the reason.
    Exit 0 whatever is found: ask `-o json` for the numbers.
    """
    from controlplane.cli import policy_input, policy_records
    from policies import simulate as simulation

    policies, mesh = policy_input.policies(files), policy_input.known_mesh(context_file)
    found = simulation.simulate(policies, mesh, policy_records.read(records))
    if session.wants_json():
        output.emit_json(_simulated(found))
        return
    rows = [
        (
            what,
            flow.caller,
            flow.action,
            flow.resource,
            len(moved.requests),
            moved.code or ", ".join(moved.because),
        )
        for (what, flow), moved in sorted(found.moved.items())
    ]
    output.emit_table(
        ("", "CALLER", "ACTION", "RESOURCE", "REQUESTS", "BECAUSE"), rows, empty="nothing changes"
    )
    output.note(f"{found.records} records: {found.same} decided as before; callers as they are now")
    for why, count in sorted(found.skipped.items()):
        output.note(f"  {count} not replayed: {why}")
    if found.masked:
        output.note(f"  {found.masked} with a masked path, of which the policies ask: not exact")


def suggest(records: Records) -> None:
    """Print the least policy that allows what was recorded as allowed, and nothing else.

    Exactly these callers, actions, resources, purposes, classes and regions: edit it down to groups before you apply it.
    """
    from controlplane.cli import policy_input, policy_records
    from policies import suggest as suggestion

    boxes = suggestion.boxes(policy_records.read(records))
    if not boxes:
        raise CliError("nothing was allowed in these records, so nothing is suggested")
    text = suggestion.cedar(boxes)
    policies = policy_input.parsed({"suggested.cedar": text})
    if session.wants_json():
        output.emit_json({"files": {"suggested.cedar": text}, "policies": len(policies)})
    else:
        typer.echo(text, nl=False)


def explain(
    caller: Annotated[str, typer.Option("--from", help="Calling node, `<node>.<site>`.")] = "",
    action: Annotated[str, typer.Option(help="Such as chat, embed, discover.")] = "",
    resource: Annotated[str, typer.Option(help="`Model/<name>@<node>.<site>`.")] = "",
    purpose: Annotated[str | None, typer.Option(help="What the caller claims.")] = None,
    data_class: Annotated[int | None, typer.Option(help="What the caller claims, 0 to 4.")] = None,
    region: Annotated[str | None, typer.Option(help="Subject region the caller claims.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="A streamed answer is asked for.")] = False,
    at: Annotated[str, typer.Option(help="When, as 2026-01-01T12:00:00Z; now if not given.")] = "",
    source_ip: Annotated[
        str | None, typer.Option(help="The address that the callee sees; rules that ask for it need it.")
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", help="NAME=VALUE, of the tool that is called. Repeat it."),
    ] = None,
    record: Annotated[str, typer.Option(help="Explain a record instead: its id. Needs --records.")] = "",
    records: Annotated[
        list[Path] | None,
        typer.Option("--records", help="Where the record is: evidence directory or JSON lines."),
    ] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="Cedar files instead of what is in force. Repeat it."),
    ] = None,
    context_file: ContextFile = None,
) -> None:
    """Say whether a request is allowed, which policies decide, and each clause with its value. Denied: exit 3.

    For a denial the nearest permit is named, with the clauses that failed. A record is explained by the version of
    policies that decided it, unless files are given.
    """
    from controlplane.cli import policy_explain, policy_records

    if bool(record) is bool(caller or action or resource):
        raise CliError("name a request (--from, --action, --resource) or a --record", code=Exit.USAGE)
    if record:
        recorded = policy_records.find(records or [], record)
        said = policy_explain.of_record(recorded, policy or [], context_file)
    else:
        recorded = None
        asked = {"from": caller, "action": action, "resource": resource, "stream": stream}
        asked["at"] = at or datetime.now(UTC).isoformat()
        claims = {"purpose": purpose, "data_class": data_class, "region": region, "source_ip": source_ip}
        asked |= {name: value for name, value in claims.items() if value is not None}
        asked |= {"arguments": policy_explain.arguments(argument)} if argument else {}
        said = policy_explain.of_request(asked, policy or [], context_file)
    _show(said, recorded)
    if not policy_explain.verdict(said, recorded).allowed:
        raise typer.Exit(Exit.DENIED)


def _show(said: "Explanation", recorded: "Recorded | None") -> None:
    from controlplane.cli import policy_explain

    decision = policy_explain.verdict(said, recorded)
    code = decision.code.value if decision.code else ""
    if session.wants_json():
        output.emit_json(policy_explain.document(said, recorded))
        return
    rows = [
        (trace.id, trace.effect.value, clause.word, clause.text)
        for trace in said.traces
        for clause in trace.clauses
    ]
    output.emit_table(("POLICY", "EFFECT", "HOLDS", "CLAUSE"), rows, empty="no policy concerns this request")
    if said.nearest is not None:
        output.note(
            f"nearest permit: {said.nearest.id} ({said.nearest.file}:{said.nearest.line}), which fails at"
        )
        for clause in said.nearest.failing:
            output.note(f"  {clause.word}: {clause.text}")
    if recorded is not None:
        then = "allow" if recorded.allowed else f"deny: {recorded.code}"
        by = f" by {recorded.policy}" if recorded.policy else ""
        output.note(f"recorded: {then}{by}, policy version {recorded.policy_version}")
        if not policy_explain.decided_again(said, recorded):
            output.note(
                "what it was decided on is not all kept (an argument, an address): as it was recorded"
            )
        elif not recorded.became(said.decision):
            output.note(
                f"not decided as recorded: policies, what is declared or what `{recorded.caller}` may be are others now"
            )
    by = f" by {', '.join(decision.because)}" if decision.because else ""
    output.note(("deny: " + code if code else "allow") + by)


def _simulated(found: "Simulation") -> dict[str, object]:
    return {
        "records": found.records,
        "same": found.same,
        "skipped": dict(found.skipped),
        "masked_paths": found.masked,
        "newly_allowed": found.requests("newly allowed"),
        "newly_denied": found.requests("newly denied"),
        "flows": [
            {
                "change": what,
                "caller": flow.caller,
                "action": flow.action,
                "resource": flow.resource,
                "requests": len(moved.requests),
                "example": moved.example,
                "code": moved.code,
                "because": list(moved.because),
            }
            for (what, flow), moved in sorted(found.moved.items())
        ],
    }
