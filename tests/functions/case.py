"""What `test_every_function.py` asks of each function: a way to call it, an oracle, and shapes of inputs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn import Tensor

Array = np.ndarray


class Case(NamedTuple):
    """One call: `name` starts with the function's; the oracle computes on float64 arrays and shares no code with it."""

    name: str
    function: Callable[..., Tensor]
    oracle: Callable[..., Array]
    shapes: tuple[tuple[int, ...], ...]
    positive: bool = False
    """Whether the inputs are all above zero."""
