"""Cedar's `datetime` and `duration`: literals folded, methods applied to what moves with now (`policies.moving`).

Cedar has already refused malformed literals. What could leave 64 bits is refused here: Cedar would fail there, and skip
the policy.
"""

import re
from datetime import datetime, timedelta

from policies.model import DAY_MS
from policies.moving import NOW, Moving
from policies.operands import Fixed, Number, Refused, Value

UNITS_MS = {
    "to_milliseconds": 1,
    "to_seconds": 1000,
    "to_minutes": 60_000,
    "to_hours": 3_600_000,
    "to_days": DAY_MS,
}
_LIMIT = 2**63
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # naive on both sides of every difference
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.(\d{3}))?(?:Z|([+-])(\d\d)(\d\d)))?")
_SPAN = re.compile(r"(-)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
_SPAN_MS = (DAY_MS, 3_600_000, 60_000, 1000, 1)


def fixed(op: str, text: str) -> Fixed:
    """The literal `datetime("…")` or `duration("…")`."""
    value = _datetime(text) if op == "datetime" else _duration(text)
    return Fixed(op, _checked(value, op))


def offset(base: Value, by: Value) -> Moving | Fixed:
    """`base.offset(by)`: one of both may move."""
    match base, by:
        case Fixed("datetime", at), Fixed("duration", span):
            return Fixed("datetime", _checked(_ms(at) + _ms(span), "offset"))
        case Moving(kind="datetime"), Fixed("duration", span):
            return _bounded(Moving("datetime", "shift", base, _ms(span)), "offset")
        case Fixed("datetime", at), Moving(kind="duration"):
            return _bounded(Moving("datetime", "shift", by, _ms(at)), "offset")
    raise Refused("`offset` is supported with a literal on one side at least", "offset")


def since(late: Value, early: Value) -> Moving | Fixed:
    """`late.durationSince(early)`."""
    match late, early:
        case Fixed("datetime", a), Fixed("datetime", b):
            return Fixed("duration", _checked(_ms(a) - _ms(b), "durationSince"))
        case Moving(kind="datetime"), Fixed("datetime", b):
            return _bounded(Moving("duration", "shift", late, -_ms(b)), "durationSince")
        case Fixed("datetime", a), Moving(kind="datetime"):
            return _bounded(Moving("duration", "mirror", early, _ms(a)), "durationSince")
    raise Refused("`durationSince` is supported with a literal on one side at least", "durationSince")


def to_date(base: Value) -> Moving | Fixed:
    match base:
        case Fixed("datetime", at):
            return Fixed("datetime", _checked(_ms(at) // DAY_MS * DAY_MS, "toDate"))
        case Moving(kind="datetime"):
            return _bounded(Moving("datetime", "day", base), "toDate")
    raise Refused("`toDate` needs a datetime", "toDate")


def to_time(base: Value) -> Moving | Fixed:
    match base:
        case Fixed("datetime", at):
            return Fixed("duration", _ms(at) % DAY_MS)
        case Moving(kind="datetime"):
            return _time_of_day(base)
    raise Refused("`toTime` needs a datetime", "toTime")


def _time_of_day(base: Moving) -> Moving | Fixed:
    """Whole shifts of now keep turning with the day; after `toDate` the rest stands still."""
    shift, at = 0, base
    while at.op == "shift" and at.base is not None:
        shift, at = shift + at.by, at.base
    if at.op == "day":
        return Fixed("duration", shift % DAY_MS)
    if at.op != "now":
        raise Refused("`toTime` of a time of day is not supported", "toTime", "compare the duration")
    return Moving("duration", "time", NOW, shift % DAY_MS)


def to_units(op: str, base: Value) -> Moving | Number:
    """`toHours()` and its kin: a division that cuts towards zero."""
    size = UNITS_MS[op]
    match base:
        case Fixed("duration", span):
            whole = abs(_ms(span)) // size
            return Number(whole if _ms(span) >= 0 else -whole)
        case Moving(kind="duration"):
            return Moving("long", "units", base, size)
    raise Refused(f"`{op}` needs a duration")


def _bounded(value: Moving, token: str) -> Moving:
    for end in value.bounds():
        _checked(end, token)
    return value


def _checked(value: int, token: str) -> int:
    if not -_LIMIT <= value < _LIMIT:
        raise Refused("the time can overflow", token)
    return value


def _ms(value: object) -> int:
    if not isinstance(value, int):
        raise RuntimeError("times are whole milliseconds")
    return value


def _datetime(text: str) -> int:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise Refused(f"`{text[:40]}` is no datetime", "datetime")
    day, clock, fraction, sign, hours, minutes = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}")
    except ValueError as exc:
        raise Refused(f"`{text}` is no datetime that can be enforced", "datetime") from exc
    shift = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    at_ms = (at - _EPOCH) // timedelta(milliseconds=1) + int(fraction or 0)
    shift_ms = shift // timedelta(milliseconds=1)
    return at_ms + shift_ms if sign == "-" else at_ms - shift_ms


def _duration(text: str) -> int:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Refused(f"`{text[:40]}` is no duration", "duration")
    sign, *counts = found.groups()
    total = sum(int(count or 0) * size for count, size in zip(counts, _SPAN_MS, strict=True))
    return -total if sign else total
