"""The exponential function and the logarithm, for a vector of numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Vector


LOWEST, HIGHEST = -104.0, 89.0
"""Below the one the result is 0, above the other infinite."""

LN2_HIGH = 0.693359375
LN2_LOW = math.log(2) - LN2_HIGH
"""ln 2 in two parts: multiples of the first are exact in float32, as it has few bits. Source: Cody and Waite, 1980."""

COEFFICIENTS = [1 / math.factorial(k) for k in range(8)]
"""Of the Taylor series, which for magnitudes up to ln(2) / 2 is off by less than float32 can tell."""


def exp(b: Builder, x: Vector) -> Vector:
    """e^x: 2^n * e^r, where n is the integer nearest to x / ln 2, and r the rest. A NaN stays one."""
    width = x.width
    lowest, highest = b.splat(LOWEST, width), b.splat(HIGHEST, width)
    x = (x < lowest).select(lowest, x)
    x = (highest < x).select(highest, x)
    n = b.rounded(x * b.splat(1 / math.log(2), width))
    rest = b.fma(n, b.splat(-LN2_HIGH, width), x)
    rest = b.fma(n, b.splat(-LN2_LOW, width), rest)
    series = b.splat(COEFFICIENTS[-1], width)
    for coefficient in COEFFICIENTS[-2::-1]:
        series = b.fma(series, rest, b.splat(coefficient, width))
    return b.scaled(series, n)


AREA_TERMS = 5
"""Of the series of log((1 + s) / (1 - s)) = 2 * (s + s^3 / 3 + s^5 / 5 + ...), for s up to 0.172: the next is 2^-32 of the sum."""


def log(b: Builder, x: Vector) -> Vector:
    """The natural logarithm of numbers from the smallest normal one on. A NaN stays one."""
    width = x.width
    one, two = b.splat(1.0, width), b.splat(2.0, width)
    mantissa, exponents = b.split(x)
    s = (mantissa - one) / (mantissa + one)
    square = s * s
    series = b.splat(1 / (2 * AREA_TERMS + 1), width)
    for k in range(AREA_TERMS - 1, 0, -1):
        series = b.fma(series, square, b.splat(1 / (2 * k + 1), width))
    low = b.fma(exponents, b.splat(LN2_LOW, width), two * s * (square * series))
    result = b.fma(exponents, b.splat(LN2_HIGH, width), b.fma(two, s, low))
    return x.is_nan().select(x, result)
