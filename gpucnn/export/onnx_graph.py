"""An ONNX graph in the making: nodes and arrays under names of their own, for one opset."""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gpucnn import __version__
from gpucnn.checks import is_int
from gpucnn.errors import ArgumentError, LibraryError
from gpucnn.text import value_text

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""What is written unless another is asked for: known since 2022, and the first with LayerNormalization."""

OLDEST_OPSET = 13
"""The first in which axes of sums and of new axes are inputs, as they are written here."""

LARGEST_MESSAGE = 2_000_000_000
"""Bytes of arrays that one protobuf message holds; its limit is 2^31. A file with more has them in a second one beside it."""

NAMES = ("images", "logits", "probabilities")
"""Inputs and outputs, after which nothing else is named."""

Axes: TypeAlias = Sequence[int | str | None]
"""A shape, where a name or None stands for what is known when the file is used."""


class OnnxGraph:
    """Nodes and arrays, added one after another; `opset` is what they are written for.

    LibraryError without onnx, ArgumentError for an opset that is older than 13 or newer than what the installed onnx knows.
    """

    def __init__(self, opset: int = OPSET) -> None:
        library = onnx_library()
        helper = library.helper
        newest = max(version for domain, version in helper.OP_SET_ID_VERSION_MAP if domain == "ai.onnx")
        if not is_int(opset) or not OLDEST_OPSET <= opset <= newest:
            raise ArgumentError(
                f"opset must be from {OLDEST_OPSET} to {newest}, the newest that the installed onnx knows, got {value_text(opset)}"
            )
        self.opset = int(opset)
        # Filled from the start: protobuf copies no message of more than 2 GB.
        self._model: onnx.ModelProto = library.ModelProto()
        self._named: dict[str, str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._taken = set(NAMES)

    def put(
        self, op: str, inputs: Sequence[str | None], *, at: str = "", name: str | None = None, **attributes: Any
    ) -> str:
        """The name of what a new node gives; None among the inputs is one that is left out.

        `at` is the path of the layer that it belongs to; `name` what its output must be called, else it has its own name.
        """
        node_name = self._fresh(f"{at}/{op}" if at else op)
        output = node_name if name is None else name
        given = {key: value for key, value in attributes.items() if value is not None}
        made = onnx_library().helper.make_node(op, [one or "" for one in inputs], [output], node_name, **given)
        self._model.graph.node.append(made)
        return output

    def array(self, values: Any, name: str | None = None) -> str:
        """The name of an array of the file. One with a `name` is added once; without, equal ones are one."""
        if name is not None:
            if name not in self._named:
                self._named[name] = self._add(np.asarray(values), name)
            return self._named[name]
        array = np.asarray(values)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._add(array, "constant")
        return self._constants[key]

    def finished(
        self,
        inputs: Sequence[tuple[str, np.dtype, Axes]],
        outputs: Sequence[tuple[str, np.dtype, Axes]],
        metadata: Mapping[str, str] | None = None,
    ) -> "onnx.ModelProto":
        """The whole as a model, checked by onnx; inputs and outputs are names with dtypes and shapes."""
        library, model = onnx_library(), self._model
        helper = library.helper
        for described, some in ((model.graph.input, inputs), (model.graph.output, outputs)):
            described.extend(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), axes)
                for name, dtype, axes in some
            )
        model.graph.name = "gpucnn"
        model.opset_import.append(helper.make_opsetid("", self.opset))
        model.ir_version = helper.find_min_ir_version_for(model.opset_import)
        model.producer_name, model.producer_version = "gpucnn", __version__
        helper.set_model_props(model, dict(metadata or {}))
        # The checker takes one message; what is saved as two files is checked where they lie.
        if bytes_of_arrays(model) <= LARGEST_MESSAGE:
            library.checker.check_model(model, full_check=True)
        return model

    def _add(self, array: np.ndarray, name: str) -> str:
        added, fresh = self._model.graph.initializer.add(), self._fresh(name)
        added.name = fresh
        added.data_type = onnx_library().helper.np_dtype_to_tensor_dtype(array.dtype)
        added.dims.extend(array.shape)
        added.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return fresh

    def _fresh(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


def onnx_library() -> ModuleType:
    """onnx, with its parts; LibraryError, which says how to install it, where it is not."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
    except ImportError as error:
        raise LibraryError(f'an ONNX file needs onnx ({error}); pip install "gpucnn[onnx]"') from None
    return onnx


def bytes_of_arrays(model: "onnx.ModelProto") -> int:
    """How many bytes the arrays of a model have."""
    return sum(map(bytes_of_array, model.graph.initializer))


def bytes_of_array(array: "onnx.TensorProto") -> int:
    """How many bytes an array has; 0 if they are not in it as they lie in memory. Looking at them would copy them."""
    if not array.HasField("raw_data"):
        return 0
    dtype: np.dtype = onnx_library().helper.tensor_dtype_to_np_dtype(array.data_type)
    return int(math.prod(array.dims)) * dtype.itemsize
