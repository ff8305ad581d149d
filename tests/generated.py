"""Random policies over the world of `worlds`: mostly plain ones that decide something, some with every construct."""

import random
from collections.abc import Sequence

from worlds import GROUPS, MOMENTS, OWNERS, PURPOSES, REGIONS, SITES, moment

from policies import parse
from policies.errors import PolicyError
from policies.model import ACTION_GROUPS, ACTIONS, RESOURCE_KINDS


class Policies:
    """Random policies: mostly plain ones that decide something, some with every construct."""

    def __init__(self, rng: random.Random, moments: Sequence[int] = MOMENTS) -> None:
        self.rng, self.moments = rng, moments
        self.refused, self.forbids = 0, 0.4

    def some(self, count: int) -> list[str]:
        """Only what can be applied: the rest is refused, which other tests look at."""
        found: list[str] = []
        # Of many forbids one always matches: large sets have few, so that all answers stay frequent.
        self.forbids = self.rng.choice([0.3, 0.45]) if count <= 7 else self.rng.choice([2, 3, 5]) / count
        while len(found) < count:
            policy = self.policy(len(found))
            try:
                parse.load({"p": policy})
            except PolicyError:
                self.refused += 1
                continue
            found.append(policy)
        return found

    def policy(self, number: int) -> str:
        effect = "forbid" if self.rng.random() < self.forbids else "permit"
        clauses = "".join(
            f" {self.rng.choice(['when', 'when', 'unless'])} {{ {self.boolean(self.rng.randint(0, 4))} }}"
            for _ in range(self.rng.choice([0, 1, 1, 1, 2]))
        )
        head = f"{self.principal()}, {self.action()}, {self.resource()}"
        return f'@id("p{number:04}") @reason("r{number}") {effect} ({head}){clauses};'

    def principal(self) -> str:
        if self.rng.random() < 0.5:
            return "principal"
        return self.rng.choice(
            [f"principal {self.above()}", "principal is Node", f"principal is Node in {self.ancestor()}"]
        )

    def above(self) -> str:
        return f"== {self.node()}" if self.rng.random() < 0.2 else f"in {self.ancestor()}"

    def node(self) -> str:
        return f'Node::"{self.rng.choice(["n1", "n2"])}.{self.rng.choice(list(SITES))}"'

    def ancestor(self) -> str:
        rng = self.rng
        odd = [
            'Group::"clinical,OU=tier:4"',
            'Site::"BERLIN"',
            'Jurisdiction::"de"',
            'Node::"n1"',
            'Group::""',
        ]
        return rng.choice(
            [f'Group::"{rng.choice(GROUPS)}"'] * 3
            + [f'Site::"{rng.choice(list(SITES))}"', f'Jurisdiction::"{rng.choice(list(SITES.values()))}"']
            + [self.node(), rng.choice(odd)]
        )

    def action(self) -> str:
        rng = self.rng
        names = sorted({*ACTIONS, *ACTION_GROUPS})
        some = ", ".join(f'Action::"{name}"' for name in rng.sample(names, rng.randint(1, 4)))
        return rng.choice(
            ["action"] * 4
            + [f"action in [{some}]"] * 3
            + [f'action == Action::"{rng.choice(sorted(ACTIONS))}"']
        )

    def resource(self) -> str:
        rng, kind = self.rng, self.rng.choice(RESOURCE_KINDS)
        return rng.choice(
            ["resource"] * 5
            + [f"resource is {kind}", f'resource in {kind}Group::"{rng.choice(GROUPS)}"']
            + [f'resource in Site::"{rng.choice(list(SITES))}"', f"resource in {self.node()}"]
            + [f'resource is {kind} in {kind}Group::"{rng.choice(GROUPS)}"']
            + [f'resource == {kind}::"r{rng.randint(0, 5)}@{rng.choice(["n1", "n2"])}.paris"']
        )

    def boolean(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.2:
            return self.leaf()
        a, b = self.boolean(depth - 1), self.boolean(depth - 1)
        return self.rng.choice(
            [
                f"({a} && {b})",
                f"({a} || {b})",
                f"!({a})",
                f"({a}) == ({b})",
                f"({a}) != ({b})",
                f"(if {a} then {b} else {self.boolean(depth - 1)})",
            ]
        )

    def leaf(self) -> str:
        return self.rng.choice(
            [
                self.strings,
                self.strings,
                self.digits,
                self.digits,
                self.sets,
                self.entities,
                self.rest,
                self.time,
                self.time,
                self.source,
                self.choice,
            ]
        )()

    def time(self) -> str:
        """Every way to build a datetime, a duration or a number from now, against a literal."""
        rng = self.rng
        at = f'datetime("{moment(rng.choice(self.moments) + rng.choice([0, 0, 1, -500]))}")'
        hours = rng.choice([-30, -2, -1, 0, 1, 5, 26])
        now = rng.choice(["context.now", f'context.now.offset(duration("{hours}h"))'])
        order = rng.choice(["<", "<=", ">", ">=", "==", "!="])
        span = f'duration("{rng.choice([0, 1, 6, 9, 13, 23, 24, -3])}h{rng.choice([0, 30])}m{rng.choice([0, 1])}ms")'
        unit = rng.choice(["toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"])
        number = rng.choice([0, 1, 6, -1, 12, 26, 600, 100000, 86400000])
        return rng.choice(
            [
                f"{now} {order} {at}",
                f"{at} {order} {now}",
                f"{now}.toTime() {order} {span}",
                f"{now}.toDate() {order} {at}",
                f"{now}.toDate() {order} {at}.toDate()",
                f"{now}.durationSince({at}) {order} {span}",
                f"{at}.durationSince({now}) {order} {span}",
                f"{at}.durationSince({now}).{unit}() {order} {number}",
                f"{now}.toTime().{unit}() {order} {number}",
                f"{now}.toTime().toHours() {order} principal.tier",
                f'{at}.offset({now}.toTime()) {order} {at}.offset(duration("9h"))',
                f"{now}.toDate().offset({span}).toTime() {order} {span}",
                f'duration("1d2h") {order} {span}',
                f"{at}.toTime().{unit}() {order} {number}",
                f"{now} == {now}",
            ]
        )

    def source(self) -> str:
        rng = self.rng
        networks = ["127.0.0.0/8", "127.1.0.0/16", "127.1.2.3", "127.1.2.3/31", "10.0.0.0/8", "192.0.2.4/30"]
        network = rng.choice(
            [*networks, "0.0.0.0/0", "::1", "2001:db8::/32", "::/0", "127.128.0.0/9", "10.9.9.9/8"]
        )
        other = rng.choice(networks)
        question = rng.choice(["isIpv4", "isIpv6", "isLoopback", "isMulticast"])
        return rng.choice(
            [
                f'context.source_ip.isInRange(ip("{network}"))',
                f'!context.source_ip.isInRange(ip("{network}"))',
                f'context.source_ip == ip("{network}")',
                f'ip("{network}") != context.source_ip',
                f"context.source_ip.{question}()",
                f'ip("{network}").{question}()',
                f'ip("{network}").isInRange(ip("{other}"))',
                f'ip("{network}").isInRange(context.source_ip)',
                f'[ip("{network}"), ip("{other}")].contains(context.source_ip)',
            ]
        )

    def choice(self) -> str:
        """`if` between values, records, decimals."""
        rng = self.rng
        cond, (field, first, second) = self.leaf(), self.string()
        order = rng.choice(["<", ">=", "=="])
        return rng.choice(
            [
                f"(if {cond} then {first} else {second}) == {field}",
                f'(if {cond} then {field} else {second}) like "*a*"',
                f"(if {cond} then context.data_class else principal.tier) {order} {rng.randint(0, 3)}",
                f"(if {cond} then principal else principal) in {self.ancestor()}",
                f"[if {cond} then {first} else {second}, {first}].contains({field})",
                f"(if {cond} then [{first}] else [{second}]).contains({field})",
                f"{{a: {field}, b: 1}}.a == {first}",
                f"{{a: {field}}} == {{a: {second}}}",
                f"{{a: {{b: {field}}}}} has a.b",
                f'decimal("1.{rng.randint(0, 20)}").lessThan(decimal("1.1"))',
                f'decimal("-0.5") == decimal("-0.{rng.choice(["5", "50", "05"])}")',
            ]
        )

    def string(self) -> tuple[str, str, str]:
        """A string of the request, and two literals that it may equal."""
        rng = self.rng
        field, values = rng.choice(
            [
                ("principal.site", tuple(SITES)),
                ("principal.jurisdiction", tuple(SITES.values())),
                ("context.purpose", PURPOSES),
                ("context.protocol", ("openai", "http")),
                ("context.method", ("GET", "POST")),
                ("context.path", ("/v1/models", "/x*y")),
                ("resource.site", tuple(SITES)),
                ("resource.owner", OWNERS),
                ("resource.name", ("r0", "r1")),
            ]
        )
        first, second = rng.choice([*values, "odd,OU=x"]), rng.choice(values)
        return field, f'"{first}"', f'"{second}"'

    def strings(self) -> str:
        field, first, second = self.string()
        other = self.rng.choice(["resource.site", "resource.jurisdiction", "resource.owner"])
        pattern = self.rng.choice(
            [
                "*",
                "p*",
                "*s",
                "*a*i*",
                "/v1/*",
                "/x\\*y",
                "**e",
                "r*0",
                "*r*r*",
                "",
                "GET",
                "b*l*n",
                "/*c*t*s",
                "*.*",
            ]
        )
        region = self.rng.choice(
            [
                'context.subject_region == "fr"',
                "principal.regions.contains(context.subject_region)",
                "true",
                '["us", "de"].contains(context.subject_region)',
                'context.subject_region like "*r"',
            ]
        )
        return self.rng.choice(
            [
                f"{field} == {first}",
                f"{second} != {field}",
                f"[{first}, {second}].contains({field})",
                f"{field} == {other}",
                f'{field} like "{pattern}"',
                f"{field} == {field}",
                "context.purpose == context.protocol",
                "(context has subject_region && context.subject_region != context.purpose)",
                "principal.jurisdiction == context.purpose",
                f"(context has subject_region && {region})",
                f"(if context has subject_region then {region} else {first} == {second})",
            ]
        )

    def digits(self) -> str:
        rng = self.rng
        fields = ["principal.tier", "principal.class_ceiling", "context.data_class", "resource.max_class"]
        other = rng.choice([*fields, *(str(digit) for digit in (-1, 0, 1, 2, 3, 4, 5, 9223372036854775807))])
        pair = [rng.choice(fields), other]
        rng.shuffle(pair)
        return f"{pair[0]} {rng.choice(['==', '!=', '<', '<=', '>', '>='])} {pair[1]}"

    def sets(self) -> str:
        rng = self.rng
        field, words = rng.choice([("principal.purposes", PURPOSES), ("principal.regions", REGIONS)])
        some = ", ".join(f'"{word}"' for word in rng.sample([*words, "odd,"], rng.randint(1, 3)))
        return rng.choice(
            [
                f'{field}.contains("{rng.choice(words)}")',
                f"{field}.containsAll([{some}])",
                f"{field}.containsAny([{some}])",
                f"[{some}].containsAny({field})",
                "principal.purposes.contains(context.purpose)",
                f"{field}.contains(resource.site)",
                f"[1, {rng.randint(0, 4)}].contains(context.data_class)",
                f"[{some}].containsAll([{some}])",
                f"[{some}].containsAll({field})",
                f"{field} == [{some}]",
                f"[{some}] != {field}",
                f"{field}.isEmpty()",
                f"{field}.containsAny({field})",
                f"[context.purpose, {some}] == [{some}]",
                f"[context.purpose].containsAll([{some}])",
            ]
        )

    def entities(self) -> str:
        rng, kind = self.rng, self.rng.choice(RESOURCE_KINDS)
        name = rng.choice(sorted({*ACTIONS, *ACTION_GROUPS}))
        return rng.choice(
            [
                f"principal {self.above()}",
                f"principal == {self.node()}",
                "principal == resource",
                f"principal in [{self.node()}, {self.node()}]",
                "resource in principal",
                "principal in resource",
                f"resource is {kind}",
                f'resource in {kind}Group::"{rng.choice(GROUPS)}"',
                "principal is Node",
                f"resource in [{self.node()}]",
                'resource in Jurisdiction::"FR"',
                f'resource in Group::"{rng.choice(GROUPS)}"',
                "principal is Node in principal",
                f'action == Action::"{name}"',
                f'action in [Action::"{name}", Action::"chat"]',
                "action in action",
            ]
        )

    def rest(self) -> str:
        return self.rng.choice(
            [
                "context.stream",
                "context.stream == true",
                "true",
                "false",
                "context has subject_region",
                "principal has tier",
                "principal has nothing",
                "context has now",
                "resource has owner",
                "1 < 2",
                '"a" like "*a"',
                "context.stream == (context.data_class < 2)",
            ]
        )
