"""What a caller may claim of its request, and which headers it may send: invariants 2 and 4."""

import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.ingress import GOOD, ME, ask, claim
from sidecar import CALLEE, CALLER, Sidecar

from agent.envoy import classifier, inputs, listeners, pb, sessions
from policies.model import ResourceKey

CLAIMS = listeners.CLAIMS
WRITE_ALL = ("if given ~= value then headers:replace(name, value) end", "headers:replace(name, value)")
MUTATION = listeners.TYPE + "http.early_header_mutation.header_mutation.v3.HeaderMutation"
REAL_STRIP = listeners._strip
ALL_HEADERS = (
    ("writ-verdict", "ok"),
    ("writ-action", "chat"),
    ("writ-resource", "Model/ngram"),
    ("writ-path", "/v1/chat/completions"),
    ("writ-protocol", "openai"),
    ("writ-body", "read"),
    ("writ-stream", "false"),
)


def forged(*names: tuple[str, str]) -> Attack:
    return ask(body=b'{"model":"secret"}', headers=list(names))


def strip_nothing(keep: tuple[str, ...]) -> dict:
    real = REAL_STRIP(keep)
    added = [one for one in real["typed_config"]["mutations"] if "append" in one]
    return {**real, "typed_config": {"@type": MUTATION, "mutations": added}}


def believe_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither strip what comes, nor classify: then whoever writes the headers decides."""
    script = "function envoy_on_request(handle) handle:clearRouteCache() end"
    monkeypatch.setattr(listeners, "_strip", strip_nothing)
    monkeypatch.setattr(classifier, "source", lambda *, egress: script)


def unstripped(*headers: tuple[str, str]) -> Attack:
    """Do any of these reach the application, which may believe them?"""

    def attack(s: Sidecar) -> bool:
        before = len(s.backend.seen)
        assert s.ask(headers=list(headers)).allowed
        (seen,) = s.backend.seen[before:]
        del s.backend.seen[before:]
        return any(seen["headers"].get(name) == value for name, value in headers)

    return attack


def again(*headers: tuple[str, str]) -> Attack:
    """A claim for the second time, after a request that has it once: the classifier knows all but the repetition."""

    def attack(s: Sidecar) -> bool:
        assert s.ask().allowed
        del s.backend.seen[-1]
        return s.ask(headers=list(headers)).allowed

    return attack


def believe_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "claimed_twice", lambda: pb.test(pb.URI_SAN, exact="nobody"))


def session(named: str, *, thief: bool = False) -> Attack:
    """Use the session that the caller was given, which stands for `{}`. A thief is another node that may do the same."""

    def attack(s: Sidecar) -> bool:
        given = s.ask(path="/mcp", body=b'{"method":"initialize"}').session
        del s.backend.seen[-1:]
        leaf = s.pki.node("app-2", attributes=CALLER) if thief else s.caller
        headers = [("mcp-session-id", named.format(given))]
        return s.ask(leaf, path="/mcp", body=b'{"method":"ping"}', headers=headers).allowed

    return attack


CONTROLS = (
    Control(
        3,
        "headers: nothing of ours from outside",
        [
            ("an attribute that a header asserts", unstripped(("writ-tier", "4"), ("writ-group", "admin"))),
            (
                "a name that nobody uses yet",
                unstripped(("writ-", "x"), ("writ-x", "x"), ("writ-purposes", "x")),
            ),
            ("a name that is part of one", unstripped(("writ-purp", "x"), ("writ-data-clas", "x"))),
            ("a verdict of its own", unstripped(("writ-verdict", "mine"), ("writ-record-id", "mine"))),
        ],
        lambda monkeypatch: monkeypatch.setattr(listeners, "_strip", strip_nothing),
    ),
    Control(
        2,
        "headers: sidecar-only ones are ours",
        [
            ("a forged verdict and resource", forged(*ALL_HEADERS)),
            ("a forged resource", forged(("writ-resource", "Model/ngram"))),
            ("a forged client certificate", forged(("x-forwarded-client-cert", f"URI={ME}"))),
            ("underscores for dashes", forged(("writ_resource", "Model/ngram"))),
        ],
        believe_headers,
    ),
    Control(
        4,
        "claims: purpose in the certificate",
        [
            (
                "a purpose it does not have",
                claim(("writ-purpose", "treatment"), *GOOD[1:], purposes=frozenset({"research"})),
            ),
            ("a purpose that is a part of one", claim(("writ-purpose", "treat"), *GOOD[1:])),
            ("an empty purpose", claim(("writ-purpose", ""), *GOOD[1:])),
            ("no purpose, where there are several", claim(*GOOD[1:])),
        ],
        mutants.script(
            'if not purpose or not find(subject, "OU=purpose:" .. purpose .. ",", 1, true) then return nil end',
            'purpose = "treatment"',
        ),
    ),
    Control(
        4,
        "claims: class raised to the floor",
        [
            (
                "an understated class",
                claim(GOOD[0], ("writ-data-class", "0"), GOOD[2], class_floor=3, class_ceiling=3),
            )
        ],
        mutants.script("if class < floor then class = floor end", ""),
    ),
    Control(
        4,
        "claims: class at most the ceiling",
        [
            (
                "a class above the ceiling",
                claim(GOOD[0], ("writ-data-class", "2"), GOOD[2], class_floor=0, class_ceiling=1),
            )
        ],
        mutants.script("if class > ceiling then return nil end", ""),
    ),
    Control(
        4,
        "claims: no class is the ceiling",
        [("no class", claim(GOOD[0], GOOD[2]))],
        mutants.script("local class = claimed or ceiling", "local class = claimed or floor"),
    ),
    Control(
        4,
        "claims: region in the certificate",
        [
            ("a region it does not have", claim(*GOOD[:2], ("writ-subject-region", "de"))),
            ("an empty region", claim(*GOOD[:2], ("writ-subject-region", ""))),
        ],
        mutants.script(
            'if region and not find(subject, "OU=region:" .. region .. ",", 1, true) then return nil end', ""
        ),
    ),
    Control(
        4,
        "claims: region required of several",
        [("no region", claim(*GOOD[:2]))],
        mutants.script("if area == false then return nil end", "area = nil"),
    ),
    Control(
        4,
        "claims: a session is the caller's own",
        [
            ("a stolen session", session("{}", thief=True)),
            ("a session as its server names it", session("s-1")),
            ("another session under its seal", session("s-2{}")),
        ],
        mutants.code(
            sessions,
            "source",
            "text = resources",
            'return "function envoy_on_request() end"\n    text = resources',
        ),
        {"resources": (ResourceKey("Service", "mcp", CALLEE),)},
    ),
    Control(
        4,
        "claims: one value each",
        [
            ("a second purpose", again(("writ-purpose", "research"))),
            ("a second class", again(("writ-data-class", "0"))),
            ("a second region", again(("writ-subject-region", "us"))),
        ],
        mutants.both(believe_the_first, mutants.script(*WRITE_ALL)),
    ),
    Control(
        4,
        "claims: grammar",
        [
            ("obs-text", claim(("writ-purpose", "treatment\xff"), *GOOD[1:])),
            ("a class of two digits", claim(GOOD[0], ("writ-data-class", "01"), GOOD[2])),
            ("a class with a sign", claim(GOOD[0], ("writ-data-class", "+1"), GOOD[2])),
        ],
        mutants.script(
            "local peer, subject = identify(",
            """purpose = purpose and (gsub(purpose, "[^a-z1-9-]", ""))
            class = class and (gsub(class, "[^a-z1-9-]", ""))
            local peer, subject = identify(""",
            *WRITE_ALL,
        ),
    ),
)
