"""The two shares of what was remembered that moment estimates keep at every step."""

from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text


def as_betas(betas: tuple[float, float], owner: str) -> tuple[float, float]:
    """`betas` as two floats; ArgumentError, which names `owner`, unless they are two numbers from 0 to below 1."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ArgumentError(f"{owner}: betas must be two numbers, got {value_text(betas)}")
    return as_number(betas[0], "betas[0]", below=1), as_number(betas[1], "betas[1]", below=1)
