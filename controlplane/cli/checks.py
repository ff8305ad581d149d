"""The lines of `writ check`, from what the control plane counted and what this machine saw. Pure.

A line fails when the mesh denies or soon will, or when a promise does not hold; it warns when somebody should look. Every
line that is not well says what to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from controlplane.cli import output, status

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2, overview_pb2

CLOCK_WARN_S, CLOCK_FAIL_S = 2.0, 30.0
HINTS = {"root": "`writ root rotate prepare`: everything rests on it"}
ROOT_WARN_S, OPERATOR_WARN_S = 60 * 86400, 3600
AUTHORITY_SHARE = 0.25  # of a CA's life: by then it should have been replaced
AGAIN_WARN_S = 30 * 86400  # before the root must sign again: somebody may have to travel to it


AGAIN = "a replica that holds the root renews it by itself; else `writ root request`, `renew` where the root is, `install`"
HINTS = {
    "delegation": f"agents refuse every document when it ends: {AGAIN}",
    "root-crl": f"others refuse every certificate when it ends: {AGAIN}",
}


class State(StrEnum):
    """How a line is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was looked at. `hint` is empty when it is well."""

    about: str
    state: State
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What this machine saw."""

    operator_ends: int  # Unix seconds
    clock_off_s: float  # our clock less the control plane's
    now: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of trouble that nodes report."""

    about: str
    state: State
    well: str
    ill: str
    hint: str


RULES: dict[str, Rule] = {
    "evidence": Rule("evidence", State.FAIL, "every agent can write records", "cannot write records, and deny", "make room in the evidence directory of these nodes"),
    "gap": Rule("evidence", State.WARN, "no agent has a gap in its evidence", "have gaps in their evidence", "`writ audit verify` on these nodes says what is missing; why did Envoy end?"),
    "expired": Rule("certificates", State.FAIL, "no enrolled node's certificate has ended", "have a certificate that ended", "is the agent running, and does it reach the control plane? after the grace, a new `writ token create`"),
    "expiring": Rule("certificates", State.WARN, "all certificates are renewed in time", "did not renew in time", "the agent's log says `renewal_failed`, and why"),
    "refused": Rule("versions", State.FAIL, "no agent refuses what it is sent", "refuse what they are sent", "the error is in `writ status`; an agent that is too old for a policy says so here"),
    "lagging": Rule("versions", State.WARN, "every connected agent enforces what is wanted", "lag behind generation or policy", "look again in some seconds; then at the log of these agents"),
    "away": Rule("versions", State.WARN, "every enrolled node is connected", "are enrolled and not connected", "they deny when their lease ends; is the agent running, is 8443 reachable from there?"),
    "clock": Rule("clocks", State.FAIL, "the clocks of all agents agree with the control plane's", "have a clock that differs by more than 5 s", "run NTP on these nodes: leases and certificates are times"),
    "not_cut": Rule("cutting", State.FAIL, "nothing is open that should have ended", "hold streams that should have ended", "give the agent CAP_NET_ADMIN; until then they end at `envoy.max_stream_s`"),
    "cannot_cut": Rule("cutting", State.WARN, "every agent can cut single streams", "cannot cut single streams", "give the agent CAP_NET_ADMIN in its network namespace"),
    "unreachable": Rule("peers", State.WARN, "every agent reaches its peers", "cannot reach some of their peers", "is port 7443 open between them, is `ingress.advertise` what the others can reach?"),
    "locked": Rule("nodes", State.FAIL, "no node is locked", "are locked: a copied key was seen", "somebody else has the key: find out who; then `writ node unlock` and a new token"),
    "copied": Rule("nodes", State.FAIL, "nobody uses a certificate that its node has replaced", "have a certificate that somebody else has, too", "somebody has a copy of its key: `writ node revoke`, and enrol it again"),
    "quarantined": Rule("nodes", State.WARN, "no node is quarantined", "are quarantined", "`writ node release`, or `writ node revoke`"),
}  # fmt: skip


def lines(mesh: "overview_pb2.MeshOverview", here: Here) -> list[Line]:
    """Every line, in the order of reading."""
    found = [_operator(here), _clock(here), *_authorities(mesh), _policy(mesh), _lease(mesh)]
    return found + [_nodes(mesh, kind, rule) for kind, rule in RULES.items()]


def _operator(here: Here) -> Line:
    left = here.operator_ends - here.now
    text = f"operator's credential ends in {status.span(left)}"
    if left > OPERATOR_WARN_S:
        return Line(about="operator", state=State.OK, text=text)
    return Line(about="operator", state=State.WARN, text=text, hint="writ operator renew, or writ login")


def unrecorded(why: str, hint: str) -> Line:
    """A control plane that refuses operators, and serves nodes: what somebody does there could not be proven."""
    return Line(about="evidence", state=State.FAIL, text=why, hint=hint or "make room on its device")


def _clock(here: Here) -> Line:
    off = abs(here.clock_off_s)
    state = State.FAIL if off > CLOCK_FAIL_S else State.WARN if off > CLOCK_WARN_S else State.OK
    text = f"this clock and the control plane's differ by {here.clock_off_s:+.1f} s"
    return Line(about="clocks", state=state, text=text, hint="run NTP on both" if off > CLOCK_WARN_S else "")


def _authorities(mesh: "overview_pb2.MeshOverview") -> Iterator[Line]:
    now = mesh.now_ms // 1000
    for end in mesh.authorities:
        left = end.not_after - now
        text = f"{end.kind} ends in {status.span(left)}" if left > 0 else f"{end.kind} has ended"
        warn = {"root": ROOT_WARN_S, "delegation": AGAIN_WARN_S, "root-crl": AGAIN_WARN_S}.get(
            end.kind, int((end.not_after - end.not_before) * AUTHORITY_SHARE)
        )
        if left > warn:
            yield Line(about="authorities", state=State.OK, text=text)
            continue
        state = State.FAIL if left <= mesh.svid_lifetime_s else State.WARN
        yield Line(
            about="authorities",
            state=state,
            text=text,
            hint=HINTS.get(
                end.kind, "`writ authority list` says what replacing it waits for; everything rests on it"
            ),
        )


def _policy(mesh: "overview_pb2.MeshOverview") -> Line:
    if not mesh.policy_now:
        return Line(
            about="versions",
            state=State.WARN,
            text="no policy: every request is denied",
            hint="`writ policy apply FILE`",
        )
    text = f"policy {mesh.policy_now} is wanted, generation {mesh.generation}"
    if mesh.policy_min == mesh.policy_now:
        return Line(about="versions", state=State.OK, text=text)
    older = f"{text}; policy {mesh.policy_min} still counts"
    return Line(
        about="versions",
        state=State.WARN,
        text=older,
        hint="agents that lag hold it up; `writ policy apply --now` waits for nobody",
    )


def _lease(mesh: "overview_pb2.MeshOverview") -> Line:
    return Line(about="lease", state=State.OK, text=status.budget(mesh))


def _nodes(mesh: "overview_pb2.MeshOverview", kind: str, rule: Rule) -> Line:
    count = mesh.troubles.get(kind, 0)
    if not count:
        return Line(about=rule.about, state=State.OK, text=rule.well)
    named = [node.node for node in mesh.attention if any(one.kind == kind for one in node.troubles)][:3]
    rest = f" and {count - len(named)} more" if count > len(named) else ""
    return Line(
        about=rule.about,
        state=rule.state,
        text=f"{count} {rule.ill}: {', '.join(named)}{rest}",
        hint=rule.hint,
    )


def changing_root(found: "Sequence[admin_pb2.Root]") -> Iterator[Line]:
    """A line while the root is being changed: two are believed, and one of them is to go."""
    believed = [f"root {one.version} is {one.state}" for one in found if one.state != "retired"]
    if len(believed) > 1:
        hint = "`writ root rotate activate --dry-run` or `retire --dry-run` says what it waits for"
        yield Line(about="root", state=State.WARN, text=", ".join(believed), hint=hint)


def federations(found: "Sequence[admin_pb2.Federation]") -> Iterator[Line]:
    """One line for each trust domain that we federate with. What is held goes on when the next cannot be fetched."""
    for one in found:
        about = f"federation {one.trust_domain}"
        if one.error:
            last = f"last fetched {output.when(one.answered_at)}" if one.answered_at else "never fetched"
            hint = f"its keys may have changed: writ federation show {one.trust_domain}"
            yield Line(about=about, state=State.WARN, text=f"{last}: {one.error}", hint=hint)
        else:
            yield Line(about=about, state=State.OK, text=f"bundle of {output.when(one.since)}")
