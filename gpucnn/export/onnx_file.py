"""A run's model written as an ONNX file, which was tried before."""

import os
from pathlib import Path
from typing import NamedTuple

from gpucnn.atomic_file import check_place
from gpucnn.checks import as_count, as_flag, as_path
from gpucnn.errors import ArgumentError
from gpucnn.export.answer_check import Checked, check
from gpucnn.export.onnx_graph import OPSET, onnx_library
from gpucnn.export.onnx_int8 import Accuracies, accuracies, to_int8
from gpucnn.export.onnx_run import run_to_onnx
from gpucnn.export.onnx_runtime import evaluator, onnxruntime_library
from gpucnn.export.onnx_writer import save_onnx
from gpucnn.export.run_facts import check_run
from gpucnn.export.run_images import images_to_try, run_images
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import printed

CALIBRATE = 200
"""Training images that tell the range of maps, unless another number is given."""
OURS = b"\x12\x06gpucnn"
"""The producer's name, which stands at the beginning of an ONNX file of ours."""


class WrittenOnnx(NamedTuple):
    """What was written, and what trying it found."""

    file: Path
    size: int
    """In bytes."""
    opset: int
    checked: Checked
    int8: Accuracies | None = None
    """What numbers of 8 bits change; None for a file without."""
    size_before: int = 0
    """What the same without int8 would have."""

    def lines(self) -> list[str]:
        """For people to read."""
        before = "" if self.int8 is None else f" of int8, before {self.size_before / 1e6:.2f} MB"
        checked = str(self.checked)
        lines = [checked] if self.int8 is None else [f"before int8: {checked}", f"int8: {self.int8}"]
        return [*lines, f"{self.file}: {self.size / 1e6:.2f} MB{before}, opset {self.opset}"]


def write_onnx(
    trained: TrainedRun,
    out: str | os.PathLike[str],
    *,
    raw: bool = True,
    opset: int = OPSET,
    calibrate: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> WrittenOnnx:
    """Write the model of a run, from `gpucnn.load`, as an ONNX file, if that gives what the run does; what was found.

    - `out`: the file; one of gpucnn's that is there is replaced. It is written whole or not at all.
    - `raw`, `opset`: as for `run_to_onnx`.
    - `calibrate`: for weights and maps of 8 bits, how many training images tell the range of the maps; None for float32.
    - `data_dir`: the folder of the data set's files, by default that of the training. Test images are tried, or, where they are
      not there, the digits that come with gpucnn; int8 needs the run's.

    Raises GraphError for a model that ONNX has no form for, and for answers that are not finite or not those of the run,
    LibraryError without onnx, or without onnxruntime for int8, ArgumentError for an opset that there is not or an `out` that is no file
    of ours, RunError if it cannot be written, and DataError if the images of a `data_dir`, or those that int8 needs, are not there.
    """
    check_run("write_onnx", trained)
    raw = as_flag(raw, "write_onnx: raw")
    place = as_path(out, "write_onnx: out")
    images_place = None if data_dir is None else str(as_path(data_dir, "write_onnx: data_dir"))
    count = None if calibrate is None else as_count(calibrate, "write_onnx: calibrate")
    onnx_library()
    if count is not None:
        onnxruntime_library("int8")
    check_place(place)
    _check_ours(place)
    if place.suffix != ".onnx":
        raise ArgumentError(f"write_onnx: an ONNX file must end in .onnx, got {printed(str(place))}")
    model = run_to_onnx(trained, raw=raw, opset=opset)
    images = images_to_try(trained, images_place) if count is None else run_images(trained, images_place, "test")
    before = evaluator(model)
    checked = check(trained, before, images, raw)
    found, size = None, model.ByteSize()
    if count is not None:
        model = to_int8(model, trained, run_images(trained, images_place, "train"), count, raw)
        found = accuracies(trained, before, evaluator(model), images, raw)
    files = save_onnx(model, place)
    return WrittenOnnx(place, sum(path.stat().st_size for path in files), opset, checked, found, size)


def _check_ours(place: Path) -> None:
    """ArgumentError for a file that is there already, and is none of ours."""
    if not place.exists():
        return
    with place.open("rb") as file:
        beginning = file.read(64)
    if beginning and OURS not in beginning:
        raise ArgumentError(f"{place}: holds something else than an ONNX file of gpucnn; choose another --out")
