"""The cases that ONNX's own authors recorded: models of a node or some, inputs, and what comes out.

The package onnx ships them. Each is computed by `gpucnn.load_onnx`, or refused for one of `REASONS`; `refused_cases.txt` lists which
and why. `python -m tests.onnx_model.recorded_cases` prints the table.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

import gpucnn
from gpucnn.autograd import no_grad
from gpucnn.errors import GpucnnError
from gpucnn.onnx_model.operators import OPERATORS

FAMILIES = ("node", "pytorch-converted", "pytorch-operator", "simple")
VERSION = "1.22.0"
"""The onnx whose cases the list of refused ones is of."""

RELATIVE, ABSOLUTE = 1e-4, 1e-6
FOUR_DIGITS = ("node/test_averagepool_2d_ceil_last_window_starts_on_pad",)
"""What comes out was recorded with four digits."""

COMPUTED_IN = {"float16": (np.dtype(np.float32), 2e-3), "bfloat16": (np.dtype(np.float32), 2e-2)}
"""Halves are computed, and come out, in float32: what was recorded has a few digits less."""

PASSED, OPERATOR = "passed", "an operator that is not computed"
REASONS = {
    "a dtype that NumPy does not have": r"of dtype (float8\w+|float4\w+|u?int[24]|bfloat16)\b|ndarray of dtype bfloat16$",
    "windows of three axes": r"\(over \d axes; over 1 and 2 it is\)|of one axis or two is computed here",
    "texts": r"of dtype string\b",
    "no tensor": r"is a (optional|sequence)_type, expected a tensor$",
    "a mask that dropout gives": r"\(Dropout\): training_mode needs a ratio that the file has, and no mask as an output$",
    OPERATOR: r"not computed here: ",
}
"""Why cases are refused: what the message has of it."""


class Outcome(NamedTuple):
    """What became of a case."""

    name: str
    """Of its family and folder."""
    operators: tuple[str, ...]
    """Those of its graph that are not computed here."""
    said: str
    """ "passed"; or else why not: the error, or what differs."""

    @property
    def reason(self) -> str:
        """ "passed", one of REASONS, or what was said."""
        found = (reason for reason, pattern in REASONS.items() if re.search(pattern, self.said))
        return PASSED if self.said == PASSED else next(found, self.said)


def cases(family: str, whole: bool = True) -> Iterator[Path]:
    """The folders of a family's cases; but for the `whole` without those that take others apart into more basic operators."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for model in sorted((data / family).glob("*/model.onnx")):
        if whole or "_expanded" not in model.parent.name:
            yield model.parent


def outcome(folder: Path) -> Outcome:
    """Compute a case with each of its sets of inputs."""
    name, model = f"{folder.parent.name}/{folder.name}", onnx.load(str(folder / "model.onnx"))
    used = {f"{node.domain}.{node.op_type}".lstrip(".") for node in model.graph.node}
    said = PASSED
    try:
        layer = gpucnn.load_onnx(folder / "model.onnx")
        for data in sorted(folder.glob("test_data_set_*")):
            inputs, expected = _tensors(data, "input"), _tensors(data, "output")
            with no_grad():
                found = layer.outputs(*map(gpucnn.Tensor, inputs))
            said = difference([one.array for one in found], expected, 1e-3 if name in FOUR_DIGITS else RELATIVE)
            if said != PASSED:
                break
    except GpucnnError as error:
        said = f"{type(error).__name__}: {str(error).removeprefix(f'{folder}/model.onnx: ')}"
    return Outcome(name, tuple(sorted(used - set(OPERATORS))), said)


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], relative: float = RELATIVE) -> str:
    """ "passed", or what of the outputs is not as it was recorded."""
    if len(found) != len(expected):
        return f"{len(found)} outputs, {len(expected)} were recorded"
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        dtype, least = COMPUTED_IN.get(str(other.dtype), (other.dtype, 0.0))
        if (one.shape, one.dtype) != (other.shape, dtype):
            return f"output {place} is {one.dtype} {one.shape}, {other.dtype} {other.shape} was recorded"
        other = other.astype(dtype)
        if not np.allclose(one, other, max(relative, least), max(ABSOLUTE, least), equal_nan=True):
            return f"output {place} differs by up to {np.nanmax(np.abs(one.astype(float) - other.astype(float))):.3g}"
    return PASSED


def whole_networks() -> list[Path]:
    """The files of nine networks for photos, whose weights are all alike."""
    return sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def network_outcome(path: Path) -> str:
    """ "passed", or what of a network's output for the numbers from 0 to 1 is not as it was recorded."""
    layer = gpucnn.load_onnx(path)
    assert layer.input_shape is not None
    shape = (1, *layer.input_shape)
    images = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    with no_grad():
        found = layer(images).array
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
    return difference([found], [numpy_helper.to_array(tensor)])


def _tensors(folder: Path, kind: str) -> list[Any]:
    found = []
    for place in range(len(list(folder.glob(f"{kind}_*.pb")))):
        tensor = onnx.TensorProto()
        tensor.ParseFromString((folder / f"{kind}_{place}.pb").read_bytes())
        found.append(numpy_helper.to_array(tensor))
    return found


def refused_cases() -> dict[str, set[str]]:
    """The list: the names of cases by reason; of operators that are not computed, their names."""
    found: dict[str, set[str]] = {}
    reason = ""
    for line in Path(__file__).with_name("refused_cases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            found[reason].update(line.split())
        elif line and not line.startswith("#"):
            reason = line
            found[reason] = set()
    return found


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The lines that tell how many cases passed and were refused, by family and reason."""
    names = [PASSED, *REASONS]
    lines = [f"{'':<36}{''.join(f'{family:>18}' for family in FAMILIES)}"]
    counts = Counter((one.name.partition("/")[0], one.reason) for one in outcomes)
    names += sorted({reason for _, reason in counts} - set(names))
    for reason in names:
        lines.append(f"{reason[:100]:<36}{''.join(f'{counts[family, reason]:>18}' for family in FAMILIES)}")
    only_ours = [one for one in outcomes if not one.operators]
    passed = sum(one.said == PASSED for one in only_ours)
    lines.append(
        f"of {len(only_ours):,} cases of operators that are computed {passed:,} passed, {len(only_ours) - passed:,} were refused"
    )
    return lines


def main() -> None:
    print("\n".join(table([outcome(folder) for family in FAMILIES for folder in cases(family)])))


if __name__ == "__main__":
    main()
