"""Canonical JSON: the bytes of RFC 8785, and no second spelling of any value."""

import enum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from certs import canonical
from certs.errors import EnvelopeError

# Below U+D800, so that Python's order and RFC 8785's are the same; the rest is tested by example.
KEYS = st.text(st.characters(max_codepoint=0xD7FF), max_size=8)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_the_bytes_are_those_of_another_implementation_and_read_back(value) -> None:
    data = canonical.dumps(value)
    assert data == rfc8785.dumps(value)
    assert canonical.loads(data, len(data)) == value


def test_a_golden_value_has_these_bytes() -> None:
    value = {"b": [1, True, None, -5], "a": '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\u20ac\U0001f600', "": {}}
    assert canonical.dumps(value) == (
        b'{"":{},"a":"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f'
        b'\xe2\x80\xa8\xe2\x82\xac\xf0\x9f\x98\x80","b":[1,true,null,-5]}'
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"nul",
        b"1 ",
        b" 1",
        b"{ }",
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1}{}',
        b'{"a":1}x',
        b'{"b":1,"a":2}',  # order
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',  # one key, two spellings
        b'{"x":{"a":1,"a":2}}',
        b'{"a":1,}',
        b"{'a':1}",
        b"1.0",
        b"1e3",
        b"1E3",
        b"-0",
        b"-0.0",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"9007199254740992",  # 2^53
        b"-9007199254740992",
        b"9" * 5000,
        b'"\\u0061"',
        b'"\\/"',
        b'"\\u000A"',  # upper-case hex, and not the short form
        b'"\\u001F"',
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\x1f"',
        b'"\xff"',
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8
        b'"\xc0\xaf"',  # an overlong slash
        b"\xef\xbb\xbf1",
        '"a"'.encode("utf-16"),
        '{"\ue000":1}'.encode(),
        '{"\U0001f600":1}'.encode(),
        b"[" * 66 + b"]" * 66,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_another_spelling_is_not_the_value(data) -> None:
    with pytest.raises(EnvelopeError, match="not canonical JSON"):
        canonical.loads(data, 1 << 20)


@given(st.binary(max_size=60))
def test_noise_is_refused_or_is_its_own_canonical_form(data) -> None:
    try:
        value = canonical.loads(data, 60)
    except EnvelopeError:
        return
    assert canonical.dumps(value) == data


def test_size_is_checked_before_reading() -> None:
    assert canonical.loads(b"[1]", 3) == [1]
    with pytest.raises(EnvelopeError, match="over the limit"):
        canonical.loads(b"[1]", 2)


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        -(2**53),
        b"bytes",
        (1,),
        {1: 2},
        {"\ue000": 1},
        {None: 1},
        Colour.RED,
        {"a"},
        "\ud800",
        {"\udfff": 1},
        [[1.5]],
    ],
)
def test_a_value_without_canonical_form_is_our_own_mistake(value) -> None:
    with pytest.raises(RuntimeError):
        canonical.dumps(value)


def test_nesting_is_bounded_and_a_cycle_ends() -> None:
    deep: list = []
    for _ in range(64):
        deep = [deep]
    assert canonical.loads(canonical.dumps(deep), 1000) == deep
    loop: list = []
    loop.append(loop)
    for value in ([deep], loop):
        with pytest.raises(RuntimeError, match="nested"):
            canonical.dumps(value)
