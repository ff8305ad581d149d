"""Order between folded operands: digits, longs, times, decimals. Exact, or `Refused`."""

import operator
from collections.abc import Callable

from policies import moving, simplify
from policies.model import DIGIT_FIELDS, Bool, Expr, Field
from policies.moving import Moving
from policies.operands import Fixed, Number, Ref, Refused, Value

ORDER: dict[str, Callable[[int, int], bool]] = {
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}
_SWAPPED: dict[Callable[[int, int], bool], Callable[[int, int], bool]] = {
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
    operator.eq: operator.eq,
}


def compare(order: Callable[[int, int], bool], left: Value, right: Value, token: str) -> Expr:
    match left, right:
        case Number(a), Number(b):
            return Bool(order(a, b))
        case Ref(field), Number(b) if field in DIGIT_FIELDS:
            return simplify.digit(field, (d for d in simplify.DIGITS if order(d, b)))
        case Number(a), Ref(field) if field in DIGIT_FIELDS:
            return simplify.digit(field, (d for d in simplify.DIGITS if order(a, d)))
        case Ref(field), Ref(other) if field in DIGIT_FIELDS and other in DIGIT_FIELDS:
            if field is other:
                return Bool(order(0, 0))
            return _digit_by_digit(
                field, lambda d: simplify.digit(other, (e for e in simplify.DIGITS if order(d, e)))
            )
        case (Moving(kind="long"), Ref(field)) | (Ref(field), Moving(kind="long")) if field in DIGIT_FIELDS:
            return _digit_by_digit(field, lambda d: compare(order, *_with_digit(left, right, d), token))
        case Moving(kind=kind), (Number() | Fixed()) as limit if _kind(limit) == kind:
            return moving.compare(order, left, _number(limit))
        case (Number() | Fixed()) as limit, Moving(kind=kind) if _kind(limit) == kind:
            return moving.compare(_SWAPPED[order], right, _number(limit))
        case Fixed(), Fixed() if _kind(left) == _kind(right):
            return Bool(order(_number(left), _number(right)))
        case Moving(), Moving() if left == right:
            return Bool(order(0, 0))
        case Moving(), Moving():
            raise Refused(f"`{token}`: both sides change with `context.now`", token, "compare with a literal")
        case _:
            raise Refused(f"`{token}` does not take these operands", token)


def _digit_by_digit(field: Field, then: Callable[[int], Expr]) -> Expr:
    """What must hold for each digit that a field can be."""
    digits = sorted(simplify.DIGITS)
    return simplify.either(*(simplify.both(simplify.digit(field, (d,)), then(d)) for d in digits))


def _with_digit(left: Value, right: Value, digit: int) -> tuple[Value, Value]:
    number = Number(digit)
    return (number, right) if isinstance(left, Ref) else (left, number)


def _kind(value: Number | Fixed) -> str:
    return "long" if isinstance(value, Number) else value.kind


def _number(value: Number | Fixed) -> int:
    if not isinstance(value.value, int):
        raise Refused("addresses have no order", "<")
    return value.value
