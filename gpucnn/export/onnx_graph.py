"""An ONNX graph in the making: nodes and arrays under names of their own, for one opset."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

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
        helper = onnx_library().helper
        newest = max(version for domain, version in helper.OP_SET_ID_VERSION_MAP if domain == "ai.onnx")
        if not is_int(opset) or not OLDEST_OPSET <= opset <= newest:
            raise ArgumentError(
                f"opset must be from {OLDEST_OPSET} to {newest}, the newest that the installed onnx knows, got {value_text(opset)}"
            )
        self.opset = int(opset)
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, onnx.TensorProto] = {}
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
        self._nodes.append(made)
        return output

    def array(self, values: Any, name: str | None = None) -> str:
        """The name of an array of the file. One with a `name` is added once; without, equal ones are one."""
        if name is not None and name in self._arrays:
            return name
        array = np.asarray(values, order="C")
        if name is None:
            key = (str(array.dtype), array.shape, array.tobytes())
            if key not in self._constants:
                self._constants[key] = self._add(array, "constant")
            return self._constants[key]
        return self._add(array, name)

    def finished(
        self,
        inputs: Sequence[tuple[str, np.dtype, Axes]],
        outputs: Sequence[tuple[str, np.dtype, Axes]],
        metadata: Mapping[str, str] | None = None,
    ) -> "onnx.ModelProto":
        """The whole as a model, checked by onnx; inputs and outputs are names with dtypes and shapes."""
        from gpucnn import __version__

        library = onnx_library()
        helper = library.helper
        described = [
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), axes)
                for name, dtype, axes in some
            ]
            for some in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "gpucnn", *described, list(self._arrays.values()))
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="gpucnn",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata or {}))
        if (
            bytes_of_arrays(model) <= LARGEST_MESSAGE
        ):  # the checker takes one message; files of two are checked where they lie
            library.checker.check_model(model, full_check=True)
        return cast("onnx.ModelProto", model)

    def _add(self, array: np.ndarray, name: str) -> str:
        fresh = self._fresh(name)
        self._arrays[name if fresh == name else fresh] = onnx_library().numpy_helper.from_array(array, fresh)
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
        import onnx.numpy_helper
    except ImportError as error:
        raise LibraryError(f'an ONNX file needs onnx ({error}); pip install "gpucnn[onnx]"') from None
    return onnx


def bytes_of_arrays(model: "onnx.ModelProto") -> int:
    """How many bytes the arrays of a model have."""
    return sum(len(array.raw_data) for array in model.graph.initializer)
