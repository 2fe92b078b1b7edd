"""The error function, which neither NumPy nor CuPy's main namespace has."""

import numpy as np

from gpucnn.backend import Array, xp_of

SMALL = 0.46875
"""Up to here |x| takes erf's own quotient, beyond it that of 1 - erf, which keeps its digits there."""

LARGE = 6.0
"""From here on erf is 1 to the last digit of a float64."""

ERF_NUMERATOR = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3,
)  # fmt: skip
ERF_DENOMINATOR = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3,
)  # fmt: skip
ERFC_NUMERATOR = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
ERFC_DENOMINATOR = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip

SINGLE_LARGE = 4.0
"""From here on erf is 1 to the last digit of a float32."""

SINGLE_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
    -2.95459980854025e-3, -1.60960333262415e-2,
)  # fmt: skip
SINGLE_DENOMINATOR = (
    -1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2,
)  # fmt: skip


def erf(x: Array) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, element by element, in x's dtype. A NaN stays one.

    The error is below 1e-14 in float64 and 4e-7 in float32; float16 is computed in float32. Source: W. J. Cody,
    "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969), of whose three
    ranges two suffice, as the last one's digits are lost in 1 - erfc; for float32 the single quotient of the Eigen library's
    `generic_fast_erf_float`.
    """
    xp = xp_of(x)
    if x.dtype == np.float32:
        clipped = xp.minimum(xp.maximum(x, -SINGLE_LARGE), SINGLE_LARGE)
        square = clipped * clipped
        clipped *= _polynomial(square, SINGLE_NUMERATOR)
        clipped /= _polynomial(square, SINGLE_DENOMINATOR)
        return xp.minimum(xp.maximum(clipped, -1), 1)  # rounding carries it beyond
    if x.dtype == np.float16:  # the coefficients' sums do not fit
        return erf(x.astype(np.float32)).astype(x.dtype)
    size = xp.minimum(xp.abs(x), LARGE)
    near = xp.minimum(size, SMALL)
    square = near * near
    near *= _polynomial(square, ERF_NUMERATOR) / _polynomial(square, ERF_DENOMINATOR)
    far = xp.exp(-size * size)
    far *= _polynomial(size, ERFC_NUMERATOR) / _polynomial(size, ERFC_DENOMINATOR)
    return xp.copysign(xp.where(size > SMALL, 1 - far, near), x)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The polynomial's values, by Horner's rule; the coefficient of the highest power comes first."""
    highest, *others = coefficients
    values = x * highest
    for coefficient in others[:-1]:
        values += coefficient
        values *= x
    values += others[-1]
    return values
