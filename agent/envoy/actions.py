"""The names of RBAC's verdicts: `<outcome>/<policy>@<generation>/<policy version>`. Records are made from them."""

import re
from dataclasses import dataclass

from policies.model import Code

ALLOW, PASS = "allow", "pass"
FORM = re.compile(r"([a-z_]+)/([a-z0-9._-]+)@(\d+)/(\d+)")
NOBODY = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What is in force: it goes into every verdict's name."""

    generation: int
    policy_version: int

    def name(self, outcome: str, policy: str = NOBODY) -> str:
        return f"{outcome}/{policy}@{self.generation}/{self.policy_version}"

    def deny(self, code: Code, policy: str = NOBODY) -> str:
        return self.name(code.value, policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A name, read back. `code` None: allowed."""

    code: Code | None
    policy: str
    stamp: Stamp


def parse(name: str) -> Verdict | None:
    """None for what is not such a name: no filter decided."""
    found = FORM.fullmatch(name)
    if found is None:
        return None
    outcome, policy, generation, version = found.groups()
    stamp = Stamp(generation=int(generation), policy_version=int(version))
    if outcome in {ALLOW, PASS}:
        return Verdict(code=None, policy="" if policy == NOBODY else policy, stamp=stamp)
    try:
        code = Code(outcome)
    except ValueError:
        return None
    return Verdict(code=code, policy="" if policy == NOBODY else policy, stamp=stamp)
