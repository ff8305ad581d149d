"""Each construct compiles to exactly this, or is refused by name, file and line."""

import pytest

from policies import parse
from policies.compile import KINDS_OF, ResourceFacts, compile_egress, compile_ingress
from policies.errors import PolicyError
from policies.model import (
    DAY_MS,
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Effect,
    Expr,
    Field,
    Has,
    Holds,
    InRange,
    Is,
    Like,
    Not,
    Only,
    Or,
    Principal,
    PrincipalIn,
    ResourceKey,
    Rule,
    Rules,
    Same,
)

HOUR = 3_600_000
KEY = ResourceKey(kind="Model", name="ngram", node="gpu-1.berlin")
FACTS = ResourceFacts(
    key=KEY,
    groups=frozenset({"clinical"}),
    owner="radiology",
    max_class=2,
    site="berlin",
    jurisdiction="DE",
    node_groups=frozenset({"research"}),
)
OTHER = ResourceFacts(
    key=ResourceKey(kind="Dataset", name="scans", node="gpu-1.berlin"),
    groups=frozenset(),
    owner="",
    max_class=0,
    site="berlin",
    jurisdiction="DE",
)
CALLER = Principal(
    node="edge-1.paris",
    site="paris",
    jurisdiction="FR",
    tier=2,
    groups=frozenset({"clinical"}),
    purposes=frozenset({"care"}),
    regions=frozenset({"fr"}),
    class_floor=0,
    class_ceiling=3,
)
T, F = Bool(value=True), Bool(value=False)
TIER, CLASS, CEILING = Field.PRINCIPAL_TIER, Field.DATA_CLASS, Field.PRINCIPAL_CLASS_CEILING
SITE, PURPOSE, REGION, STREAM = Field.PRINCIPAL_SITE, Field.PURPOSE, Field.SUBJECT_REGION, Field.STREAM
PURPOSES, REGIONS = Field.PRINCIPAL_PURPOSES, Field.PRINCIPAL_REGIONS


def words(field: Field, *values: str) -> Is:
    return Is(field, frozenset(values))


def digits(field: Field, *values: int) -> Digit:
    return Digit(field, frozenset(values))


def rules_of(source: str, *, egress: bool = False, facts: tuple[ResourceFacts, ...] = (FACTS,)) -> Rules:
    policies = parse.load({"f": source})
    return compile_egress(policies, CALLER, facts) if egress else compile_ingress(policies, facts)


def when(condition: str, *, egress: bool = False) -> Expr:
    rules = rules_of(f'@id("a") permit(principal, action, resource) when {{ {condition} }};', egress=egress)
    return rules.rules[0].when if rules.rules else F


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", T),
        ("false", F),
        ('principal.site == "berlin"', words(SITE, "berlin")),
        ('"berlin" == principal.site', words(SITE, "berlin")),
        ('principal.site != "berlin"', Not(words(SITE, "berlin"))),
        ('principal.site == "a,OU=tier:4"', F),
        ('principal.jurisdiction == "de"', F),
        ('["berlin", "paris"].contains(principal.site)', words(SITE, "berlin", "paris")),
        ('context.purpose == "a" || context.purpose == "b"', words(PURPOSE, "a", "b")),
        ('context.purpose == "a" && context.purpose == "b"', F),
        ('context.path == "/a b"', words(Field.PATH, "/a b")),
        ("context.purpose == context.purpose", T),
        ("principal.site == resource.site", words(SITE, "berlin")),
        ("resource.site == resource.owner", F),
        ('resource.owner == "radiology" && resource.name like "n*m"', T),
        ('principal.site like "ber*"', Like(SITE, ("ber", ""))),
        ('principal.site like "*"', T),
        (f'context.path like "*{"a" * 500}*"', Like(Field.PATH, ("", "a" * 500, ""))),
        ('principal.site like "b*l*n"', Like(SITE, ("b", "l", "n"))),
        ("context.purpose == context.protocol", Same(Field.PROTOCOL, PURPOSE)),
        ("principal.jurisdiction == context.purpose", F),
        (
            'principal.purposes == ["b", "a"]',
            And((Holds(PURPOSES, "b"), Holds(PURPOSES, "a"), Only(PURPOSES, frozenset("ab")))),
        ),
        ('["a", "b"].containsAll(principal.regions)', Only(REGIONS, frozenset("ab"))),
        ("principal.purposes.isEmpty()", Only(PURPOSES, frozenset())),
        ("principal.regions.containsAny(principal.regions)", Not(Only(REGIONS, frozenset()))),
        ('["a"].isEmpty() || ["a", "b"] == ["b", "a"]', T),
        ('resource in Group::"research"', T),
        ('resource in Group::"other"', F),
        ("{a: {b: context.stream}}.a.b", Is(STREAM, frozenset({True}))),
        ("{a: 1} has a && !({a: 1} has b)", T),
        ('{a: context.purpose, b: 1} == {a: "care", b: 1}', words(PURPOSE, "care")),
        ('decimal("1.5").lessThan(decimal("1.50"))', F),
        (
            '(if context.stream then "a" else "b") == context.purpose',
            Or(
                (
                    And((Is(STREAM, frozenset({True})), words(PURPOSE, "a"))),
                    And((Is(STREAM, frozenset({False})), words(PURPOSE, "b"))),
                )
            ),
        ),
        ('context.now < datetime("1970-01-01T00:00:01Z")', Before(1000)),
        ('context.now <= datetime("1970-01-01T00:00:01.500+0000")', Before(1501)),
        ('context.now >= datetime("1970-01-01T01:00:00+0100")', T),
        ('context.now > datetime("9999-12-31T23:59:59.999Z")', F),
        ('context.now.offset(duration("-1h")) < datetime("1970-01-02")', Before(90_000_000)),
        ('datetime("1970-01-02").durationSince(context.now) > duration("1h")', Before(82_800_000)),
        ('context.now.toDate() == datetime("1970-01-02")', And((Before(2 * DAY_MS), Not(Before(DAY_MS))))),
        ('context.now.toTime() < duration("6h")', Clock(0, 6 * HOUR)),
        ("context.now.toTime().toHours() >= 18", Not(Clock(0, 18 * HOUR))),
        (
            'context.now.offset(duration("2h")).toTime() < duration("4h")',
            Or((Clock(0, 2 * HOUR), Clock(22 * HOUR, DAY_MS))),
        ),
        ('context.now.toDate().offset(duration("30h")).toTime() == duration("6h")', T),
        ('context.source_ip.isInRange(ip("10.1.2.3/8"))', InRange("10.0.0.0/8")),
        ('context.source_ip == ip("192.0.2.1")', InRange("192.0.2.1/32")),
        ('context.source_ip == ip("192.0.2.0/24")', F),
        ("context.source_ip.isLoopback()", Or((InRange("127.0.0.0/8"), InRange("::1/128")))),
        ('ip("10.0.0.1/24").isInRange(ip("10.0.0.0/16")) && !ip("::1").isIpv4()', T),
        ('principal.site like "berlin,*"', F),
        ('principal.jurisdiction like "*e"', F),
        ('context.path like "*,OU=*"', Like(Field.PATH, ("", ",OU=", ""))),
        ('principal.site like "berlin"', words(SITE, "berlin")),
        ('context.path like "/v1/*/x\\*y"', Like(Field.PATH, ("/v1/", "/x*y"))),
        ("principal.tier == 2", digits(TIER, 2)),
        ("principal.tier != 2", digits(TIER, 0, 1, 3, 4)),
        ("principal.tier == 7", F),
        ("principal.tier != 7", T),
        ("principal.tier >= 0", T),
        ("principal.tier < 0", F),
        ("context.data_class <= 1", digits(CLASS, 0, 1)),
        ("1 < context.data_class", digits(CLASS, 2, 3, 4)),
        ("!(context.data_class <= 1)", digits(CLASS, 2, 3, 4)),
        ("context.data_class <= resource.max_class", digits(CLASS, 0, 1, 2)),
        ("context.data_class > 1 && context.data_class < 3", digits(CLASS, 2)),
        ("context.data_class < 2 || context.data_class >= 2", T),
        ("[1, 2].contains(principal.tier)", digits(TIER, 1, 2)),
        ("principal.tier <= principal.tier", T),
        ("principal.tier < principal.tier", F),
        ("resource.max_class < 3", T),
        (
            "context.data_class < principal.class_ceiling",
            Or(
                (
                    And((digits(CLASS, 0), digits(CEILING, 1, 2, 3, 4))),
                    And((digits(CLASS, 1), digits(CEILING, 2, 3, 4))),
                    And((digits(CLASS, 2), digits(CEILING, 3, 4))),
                    And((digits(CLASS, 3), digits(CEILING, 4))),
                )
            ),
        ),
        ('principal.purposes.contains("care")', Holds(PURPOSES, "care")),
        ('principal.purposes.contains("a,b")', F),
        ("principal.purposes.contains(resource.owner)", Holds(PURPOSES, "radiology")),
        ("principal.purposes.contains(context.purpose)", T),
        (
            'principal.regions.containsAll(["de", "fr"])',
            And((Holds(REGIONS, "de"), Holds(REGIONS, "fr"))),
        ),
        ('principal.regions.containsAny(["de", "fr"])', Or((Holds(REGIONS, "de"), Holds(REGIONS, "fr")))),
        ('["de", "fr"].containsAny(principal.regions)', Or((Holds(REGIONS, "de"), Holds(REGIONS, "fr")))),
        ('["a", "b"].containsAll(["b"])', T),
        ("context has subject_region", Has(REGION)),
        ("context has purpose && principal has tier && resource has owner", T),
        ("context has nothing || principal has nothing || resource has nothing", F),
        (
            'context has subject_region && context.subject_region == "fr"',
            And((Has(REGION), words(REGION, "fr"))),
        ),
        ("context has subject_region && principal.regions.contains(context.subject_region)", Has(REGION)),
        ("context.stream", Is(STREAM, frozenset({True}))),
        ("!context.stream", Is(STREAM, frozenset({False}))),
        ("context.stream == false", Is(STREAM, frozenset({False}))),
        (
            "context.stream == (principal.tier > 2)",
            Or(
                (
                    And((Is(STREAM, frozenset({True})), digits(TIER, 3, 4))),
                    And((Is(STREAM, frozenset({False})), digits(TIER, 0, 1, 2))),
                )
            ),
        ),
        (
            'if context.stream then principal.tier > 2 else context.purpose == "a"',
            Or(
                (
                    And((Is(STREAM, frozenset({True})), digits(TIER, 3, 4))),
                    And((Is(STREAM, frozenset({False})), words(PURPOSE, "a"))),
                )
            ),
        ),
        ('if resource.site == "berlin" then principal.tier > 2 else false', digits(TIER, 3, 4)),
        ('principal in Group::"edge"', PrincipalIn("Group", "edge")),
        ('principal in Group::"edge,OU=group:clinical"', F),
        ('principal in Site::"Paris"', F),
        ('principal == Node::"a.b"', PrincipalIn("Node", "a.b")),
        ('principal != Node::"a.b"', Not(PrincipalIn("Node", "a.b"))),
        (
            'principal in [Site::"paris", Site::"berlin"]',
            Or((PrincipalIn("Site", "paris"), PrincipalIn("Site", "berlin"))),
        ),
        ('principal is Node && principal is Node in Site::"paris"', PrincipalIn("Site", "paris")),
        ("principal == principal && resource == resource && action == action", T),
        ("principal == resource || principal in resource", F),
        ("resource in principal", PrincipalIn("Node", "gpu-1.berlin")),
        ('resource == Model::"ngram@gpu-1.berlin"', T),
        (
            'resource in ModelGroup::"clinical" && resource in Site::"berlin" && resource in Jurisdiction::"DE"',
            T,
        ),
        ('resource in Node::"gpu-1.berlin" && resource is Model', T),
        ('resource in ModelGroup::"edge" || resource is Tool', F),
        ('Node::"a.b" == Node::"a.b"', T),
    ],
)
def test_a_construct_compiles_exactly(condition: str, expected: Expr) -> None:
    assert when(condition) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (
            'principal in Group::"clinical" && principal in Site::"paris" && principal == Node::"edge-1.paris"',
            T,
        ),
        ('principal in Jurisdiction::"DE"', F),
        ("resource in principal", F),
        ('principal.purposes.contains("care") && principal.tier < context.data_class', digits(CLASS, 3, 4)),
        ("principal.purposes.contains(context.purpose)", words(PURPOSE, "care")),
        (
            "context has subject_region && principal.regions.contains(context.subject_region)",
            And((Has(REGION), words(REGION, "fr"))),
        ),
        ("context.data_class <= principal.class_ceiling", digits(CLASS, 0, 1, 2, 3)),
        ('principal.site like "p*" && context.stream', Is(STREAM, frozenset({True}))),
        ('principal.purposes == ["care"] && ["care", "x"].containsAll(principal.purposes)', T),
        # What the callee will see of a caller's address is not known here: whatever could permit is let through.
        ('context.source_ip.isInRange(ip("10.0.0.0/8"))', T),
        ('!context.source_ip.isInRange(ip("10.0.0.0/8")) && context.stream', Is(STREAM, frozenset({True}))),
    ],
)
def test_at_egress_the_caller_is_known(condition: str, expected: Expr) -> None:
    assert when(condition, egress=True) == expected


@pytest.mark.parametrize(
    ("condition", "construct"),
    [
        ("principal.tier + 1 > 2", "`+`"),
        ("principal.tier - 1 > 2", "`-`"),
        ("principal.tier * 2 > 2", "`*`"),
        ("-principal.tier < 0", "`-`"),
        ("false && 1 + 1 == 2", "`+`"),
        ("resource is Tool && principal.tier + 1 == 2", "`+`"),
        ("principal.site == context.purpose", "part of the certificate"),
        ("[principal.site].contains(context.purpose)", "part of the certificate"),
        ("principal.purposes.contains(principal.site)", "`contains`"),
        ("principal.regions.contains(context.purpose)", "`contains`"),
        ("principal.regions.containsAny(principal.purposes)", "`containsAny`"),
        ("principal.regions.containsAll(principal.purposes)", "`containsAll`"),
        ("principal.regions == principal.purposes", "two whole sets"),
        ("[resource.owner].containsAll(principal.purposes)", "spelled out"),
        (f'["{"a" * 48}", "b"].containsAll(principal.purposes)', "too long"),
        ('context.path like "*a*b*c*d*e*"', "wildcards"),
        (f'context.path like "a*{"b" * 30}*{"c" * 18}"', "48 characters"),
        (f'principal.site like "a{"b" * 40}*{"c" * 8}"', "48 characters"),
        ("context.now.offset(context.now.toTime()) == context.now", "`offset`"),
        ('context.now.durationSince(context.now) == duration("0s")', "`durationSince`"),
        ("context.now < context.now.toDate()", "`<`"),
        ('datetime("2026-01-01").offset(context.now.toTime()).toTime() > duration("1h")', "`toTime`"),
        ('context.now.offset(duration("9223372036854775807ms")) > datetime("2026-01-01")', "overflow"),
        ('Node::"a.b".tier == 1', "spelled-out"),
        ('Node::"a.b" in Site::"b"', "`in`"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name_and_line(condition: str, construct: str) -> None:
    source = f'\n@id("a")\npermit(principal, action, resource)\nwhen {{ true }}\nwhen {{\n  {condition} }};'
    with pytest.raises(PolicyError) as caught:
        parse.load({"f": source})
    (finding,) = caught.value.findings
    assert (finding.code, finding.file, finding.policy) == ("W-UNSUPPORTED", "f", "a")
    assert construct in finding.message
    assert finding.line in {2, 6}


def test_a_caller_forbids_only_what_every_address_would_forbid() -> None:
    source = (
        '@id("p") permit(principal, action, resource);'
        '@id("f") forbid(principal, action, resource) when { context.source_ip.isLoopback() };'
        '@id("g") forbid(principal, action, resource) when { context.stream || context.source_ip.isIpv6() };'
    )
    found = {rule.id: rule.when for rule in rules_of(source, egress=True).rules}
    assert found == {"p": T, "g": Is(STREAM, frozenset({True}))}


def test_scopes_clauses_and_effects_become_rules() -> None:
    source = (
        '@id("b") @reason("why") forbid(principal in Site::"paris", action == Action::"discover", resource)'
        ' unless { principal.tier > 2 };\n@id("a") permit(principal, action, resource is Model) when { context.stream };'
    )
    assert rules_of(source, facts=(OTHER, FACTS)) == Rules(
        rules=(
            Rule(
                id="a",
                effect=Effect.PERMIT,
                actions=frozenset(action for action, kinds in KINDS_OF.items() if "Model" in kinds),
                resources=frozenset({KEY}),
                when=Is(STREAM, frozenset({True})),
            ),
            Rule(
                id="b",
                effect=Effect.FORBID,
                actions=frozenset({"discover"}),
                resources=frozenset({KEY, OTHER.key}),
                when=And((PrincipalIn("Site", "paris"), digits(TIER, 0, 1, 2))),
                reason="why",
            ),
        ),
        resources=frozenset({KEY, OTHER.key}),
    )


def test_a_policy_whose_residue_differs_becomes_several_rules_with_one_id() -> None:
    source = '@id("a") permit(principal, action in Action::"transfer", resource) when { context.data_class <= resource.max_class && (action == Action::"push" || context.stream) };'
    found = rules_of(source, facts=(FACTS, OTHER)).rules
    stream = Is(STREAM, frozenset({True}))
    assert {(tuple(rule.actions), tuple(rule.resources), rule.when) for rule in found} == {
        (("push",), (KEY,), digits(CLASS, 0, 1, 2)),
        (("push",), (OTHER.key,), digits(CLASS, 0)),
        (("pull",), (KEY,), And((digits(CLASS, 0, 1, 2), stream))),
        (("pull",), (OTHER.key,), And((digits(CLASS, 0), stream))),
    }


def test_egress_keeps_only_what_a_permit_reaches() -> None:
    source = (
        '@id("p") permit(principal in Group::"clinical", action, resource is Model);\n'
        '@id("q") permit(principal in Group::"other", action, resource);\n'
        '@id("f") forbid(principal, action, resource) when { context.stream };'
    )
    found = rules_of(source, egress=True, facts=(FACTS, OTHER))
    assert found.resources == {KEY}
    assert [(rule.id, rule.resources) for rule in found.rules] == [("f", {KEY}), ("p", {KEY})]


def test_the_same_policies_compile_to_the_same_rules_in_any_order() -> None:
    first = '@id("a") permit(principal, action, resource);'
    second = '@id("b") forbid(principal, action, resource) when { context.stream };'
    assert rules_of(f"{first}\n{second}", facts=(FACTS, OTHER)) == rules_of(
        f"{second}\n{first}", facts=(OTHER, FACTS)
    )
