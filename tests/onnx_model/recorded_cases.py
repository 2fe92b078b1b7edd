"""The cases that ONNX's own authors recorded: models of a node or some, inputs, and what comes out. `python -m tests.onnx_model.recorded_cases`

The package onnx ships them. Every case is computed by `gpucnn.load_onnx`, or refused for a reason that is told here.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gpucnn
from gpucnn.autograd import no_grad
from gpucnn.errors import GpucnnError
from gpucnn.onnx_model.operators import OPERATORS

FAMILIES = ("node", "pytorch-converted", "pytorch-operator", "simple")
RELATIVE, ABSOLUTE = 1e-4, 1e-6
HALF = 2e-3
"""Of floats of 16 bits, which are computed in 32."""


class Outcome(NamedTuple):
    """What became of a case."""

    name: str
    """Of its family and folder."""
    operators: tuple[str, ...]
    """Those of its graph."""
    said: str
    """ "passed"; or else why not: the error, or what differs."""


def folder_of_cases() -> Path:
    """Where the installed onnx has them."""
    import onnx

    return Path(onnx.__file__).parent / "backend" / "test" / "data"


def cases(family: str) -> Iterator[Path]:
    """The folders of a family's cases."""
    yield from sorted(path.parent for path in (folder_of_cases() / family).glob("*/model.onnx"))


def outcome(folder: Path) -> Outcome:
    """Compute a case with each of its sets of inputs."""
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    operators = sorted({f"{node.domain}.{node.op_type}".lstrip(".") for node in model.graph.node})
    said = "passed"
    try:
        layer = gpucnn.load_onnx(folder / "model.onnx")
        for data in sorted(folder.glob("test_data_set_*")):
            inputs, expected = _tensors(data, "input"), _tensors(data, "output")
            if not all(isinstance(one, np.ndarray) for one in inputs + expected):
                said = "its inputs or outputs are no tensors"
                break
            with no_grad():
                found = layer.outputs(*map(gpucnn.Tensor, inputs))
            said = difference([one.array for one in found], expected)
            if said != "passed":
                break
    except GpucnnError as error:
        said = f"{type(error).__name__}: {str(error).removeprefix(f'{folder}/model.onnx: ')}"
    return Outcome(f"{folder.parent.name}/{folder.name}", tuple(operators), said)


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """ "passed", or what of the outputs is not as it was recorded."""
    if len(found) != len(expected):
        return f"{len(found)} outputs, {len(expected)} were recorded"
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one.shape != other.shape:
            return f"output {place} is {one.shape}, {other.shape} was recorded"
        relative, absolute = RELATIVE, ABSOLUTE
        if (
            other.dtype.itemsize == 2 and other.dtype.kind not in "iu" and one.dtype == np.float32
        ):  # halves are computed so
            other, relative, absolute = other.astype(np.float32), HALF, HALF
        if one.dtype != other.dtype:
            return f"output {place} is of {one.dtype}, {other.dtype} was recorded"
        if not np.allclose(one, other, relative, absolute, equal_nan=True):
            return f"output {place} differs by up to {np.nanmax(np.abs(one.astype(float) - other.astype(float))):.3g}"
    return "passed"


def _tensors(folder: Path, kind: str) -> list[Any]:
    import onnx
    from onnx import numpy_helper

    found: list[Any] = []
    for place in range(len(list(folder.glob(f"{kind}_*.pb")))):
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString((folder / f"{kind}_{place}.pb").read_bytes())
            found.append(numpy_helper.to_array(tensor))
        except Exception:  # a sequence, or an optional value
            found.append(None)
    return found


def main() -> None:
    for family in FAMILIES:
        outcomes = [outcome(folder) for folder in cases(family)]
        count = Counter("passed" if one.said == "passed" else "not" for one in outcomes)
        only_ours = [one for one in outcomes if set(one.operators) <= set(OPERATORS)]
        print(
            family,
            dict(count),
            "of only ours:",
            len(only_ours),
            "passed",
            sum(one.said == "passed" for one in only_ours),
        )
        for one in only_ours:
            if one.said != "passed" or "-v" in sys.argv:
                print("  ", one.name, one.said[:230])


if __name__ == "__main__":
    main()
