"""A run's model written as an ONNX file, which was tried before."""

import os
from pathlib import Path
from typing import NamedTuple

from gpucnn.atomic_file import check_place
from gpucnn.checks import as_count, as_path
from gpucnn.errors import ArgumentError
from gpucnn.export.onnx_check import Checked, check
from gpucnn.export.onnx_graph import OPSET
from gpucnn.export.onnx_run import run_to_onnx
from gpucnn.export.onnx_runtime import evaluator
from gpucnn.export.onnx_writer import save_onnx
from gpucnn.export.run_images import images_to_try
from gpucnn.runs.trained_run import TrainedRun

CALIBRATE = 200
"""Training images that tell the range of maps, unless another number is given."""
OURS = b"\x12\x06gpucnn"
"""The producer's name, which stands at the beginning of an ONNX file of ours."""


class OnnxFile(NamedTuple):
    """What was written, and what trying it found."""

    file: Path
    size: int
    opset: int
    checked: Checked

    def lines(self) -> list[str]:
        """For people to read."""
        return [f"{self.file}: {self.size / 1e6:.2f} MB, opset {self.opset}", str(self.checked)]


def write_onnx(
    trained: TrainedRun,
    out: str | os.PathLike[str],
    *,
    raw: bool = True,
    opset: int = OPSET,
    calibrate: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> OnnxFile:
    """Write the model of a run as an ONNX file."""
    place = as_path(out, "write_onnx: out")
    check_place(place)
    _check_ours(place)
    if calibrate is not None:
        as_count(calibrate, "write_onnx: calibrate")
    images = images_to_try(trained, None if data_dir is None else str(as_path(data_dir, "write_onnx: data_dir")))
    model = run_to_onnx(trained, raw=raw, opset=opset)
    checked = check(trained, evaluator(model), images, raw)
    file, *others = save_onnx(model, place)
    return OnnxFile(file, sum(path.stat().st_size for path in (file, *others)), opset, checked)


def _check_ours(place: Path) -> None:
    """ArgumentError for a file that is there already, and is none of ours."""
    if not place.exists():
        return
    with place.open("rb") as file:
        beginning = file.read(64)
    if beginning and OURS not in beginning:
        raise ArgumentError(f"{place}: holds something else than an ONNX file of gpucnn; choose another --out")
