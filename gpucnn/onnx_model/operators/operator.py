"""What the table of operators has of each: its function, the versions that it knows, and which of its inputs are learnt."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.onnx_model.node import OnnxNode

Value: TypeAlias = Tensor | np.ndarray
"""What a node takes or gives: a tensor; or a host array, which is known: a constant, a shape, what was computed of these."""

Inputs: TypeAlias = Sequence[Value | None]
"""One for each input of a node, None for one that is left out."""

Function: TypeAlias = Callable[[OnnxNode, Inputs], Value | Sequence[Value]]
"""Of a node and its inputs: its output, or all of them. What it gives for known inputs alone is taken for known, too."""


class Operator(NamedTuple):
    """One operator of ONNX."""

    function: Function
    since: tuple[int, ...]
    """The versions that are known, as `onnx.defs` numbers them: the opsets in which the operator changed."""
    learns: Mapping[int, str] = MappingProxyType({})
    """Which inputs are parameters, if the file has their values, and what they are called where it gives them no good name."""
    tracks: Mapping[int, str] = MappingProxyType({})
    """Which inputs are buffers, likewise: they move in training."""
    passes: tuple[int, ...] = ()
    """Through which inputs a parameter's role goes on to what they were made of, as a transposed weight."""
