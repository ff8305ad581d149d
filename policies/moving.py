"""Values that depend on `context.now` and on nothing else: each rises or falls with now, or with the time of day.

So `value < limit` is a bound on now itself, which a proxy can hold against its clock.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from policies import simplify
from policies.model import DAY_MS, NOW_MAX_MS, Expr

Kind = Literal["datetime", "duration", "long"]


@dataclass(frozen=True, slots=True)
class Moving:
    """A value that depends on now: `op` applied to `base`, with `by` as its number."""

    kind: Kind
    op: Literal["now", "shift", "mirror", "day", "time", "units"]
    base: "Moving | None" = None
    by: int = 0

    def below(self, limit: int) -> Expr:
        """The condition under which this value is less than `limit`."""
        if self.op == "now":
            return simplify.before(limit)
        base = self._base()
        match self.op:
            case "shift":
                return base.below(limit - self.by)
            case "mirror":  # by - x < limit
                return simplify.negate(base.below(self.by - limit + 1))
            case "day":
                return base.below(-(-limit // DAY_MS) * DAY_MS)
            case "time":
                return simplify.clock(-self.by, limit)
            case _:  # division that cuts towards zero
                return base.below(limit * self.by if limit > 0 else (limit - 1) * self.by + 1)

    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value, over every now."""
        if self.op == "now":
            return 0, NOW_MAX_MS
        least, most = self._base().bounds()
        match self.op:
            case "shift":
                return least + self.by, most + self.by
            case "mirror":
                return self.by - most, self.by - least
            case "time":
                return 0, DAY_MS - 1
            case "day":
                return least // DAY_MS * DAY_MS, most
            case _:
                return min(least, 0), max(most, 0)

    def _base(self) -> "Moving":
        if self.base is None:
            raise RuntimeError("only now has no base")
        return self.base


NOW = Moving("datetime", "now")


def compare(order: Callable[[int, int], bool], value: Moving, limit: int) -> Expr:
    """`value order limit`, for one of Python's five order operators."""
    less, at_most = value.below(limit), value.below(limit + 1)
    answers: dict[Callable[[int, int], bool], Expr] = {
        operator.lt: less,
        operator.le: at_most,
        operator.gt: simplify.negate(at_most),
        operator.ge: simplify.negate(less),
        operator.eq: simplify.both(at_most, simplify.negate(less)),
    }
    return answers[order]
