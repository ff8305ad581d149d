"""A secret in n shares of which any k give it back and fewer say nothing: Shamir's scheme, byte by byte over GF(2^8).

Nothing here tells a wrong share from a right one: whatever the secret opens must be authenticated. Not constant in time:
it runs once in a ceremony, on the machine of whoever holds the secret anyway.
"""

from collections.abc import Callable, Sequence

from certs.errors import ShareError

MAX_SHARES = 255
POLYNOMIAL = 0x11B  # AES's
Share = tuple[int, bytes]
"""Where the polynomials were evaluated, 1 to 255, and their values: one byte for each of the secret's."""


def split(secret: bytes, count: int, threshold: int, random_bytes: Callable[[int], bytes]) -> list[Share]:
    """`count` shares, any `threshold` of which give the secret back."""
    if not 2 <= threshold <= count <= MAX_SHARES:  # noqa: PLR2004 - one share would be the secret
        raise ShareError(f"`{threshold}` of `{count}` shares cannot be made")
    polynomials = [bytes([byte]) + random_bytes(threshold - 1) for byte in secret]
    return [(x, bytes(_evaluate(one, x) for one in polynomials)) for x in range(1, count + 1)]


def join(shares: Sequence[Share]) -> bytes:
    """The secret, if these are enough shares of it; something else, if not."""
    points = [x for x, _ in shares]
    if len(set(points)) != len(points) or not all(0 < x <= MAX_SHARES for x in points):
        raise ShareError("a share occurs twice, or is none")
    if len({len(values) for _, values in shares}) != 1:
        raise ShareError("shares are of different secrets")
    weights = [_weight(x, points) for x in points]
    columns = zip(*(values for _, values in shares), strict=True)
    return bytes(_sum(map(_times, weights, column)) for column in columns)


def _evaluate(coefficients: bytes, x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = _times(value, x) ^ coefficient
    return value


def _weight(x: int, points: Sequence[int]) -> int:
    """Lagrange's, at zero."""
    weight = 1
    for other in points:
        if other != x:
            weight = _times(weight, _times(other, _inverse(other ^ x)))
    return weight


def _sum(values: "map[int]") -> int:
    total = 0
    for value in values:
        total ^= value
    return total


def _times(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a <<= 1
        a ^= POLYNOMIAL if a & 0x100 else 0
        b >>= 1
    return product


def _inverse(a: int) -> int:
    """a^254: the field has 255 elements but zero."""
    result = 1
    for _ in range(254):
        result = _times(result, a)
    return result
