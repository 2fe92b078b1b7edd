"""`gpucnn export RUN`: a trained model as a file for other programs."""

import argparse
import keyword
import re
from collections.abc import Callable
from pathlib import Path

from gpucnn.backend import choose_device
from gpucnn.cli.arguments import add_weights, choice, count
from gpucnn.errors import ArgumentError
from gpucnn.export.numpy_predictor import hides_another, numpy_predictor
from gpucnn.export.onnx_file import CALIBRATE, write_onnx
from gpucnn.export.onnx_graph import OPSET
from gpucnn.export.run_weights import write_weights
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.trained_run import TrainedRun

HELP = "Write the model of a run into a file for other programs: ONNX with its preprocessing inside, or one of NumPy alone."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn export`."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument(
        "--format", type=choice(list(FORMATS)), default="onnx", metavar="NAME",
        help=f"{', '.join(FORMATS)} (default: onnx)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="the file (default: here, named after the run)")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="the folder of the data set's files, on whose images the file is checked (default: as in training)"
    )  # fmt: skip
    add_weights(parser)
    onnx = parser.add_argument_group("of --format onnx")
    kind = onnx.add_mutually_exclusive_group()
    kind.add_argument(
        "--raw", action="store_true", help="takes images of bytes, of any size, and fits and normalises them itself (default)"
    )  # fmt: skip
    kind.add_argument("--float", action="store_true", help="takes what the model does, fitted and normalised")
    onnx.add_argument("--opset", type=count, metavar="N", help=f"ONNX's version of operators (default: {OPSET})")
    onnx.add_argument(
        "--int8", action="store_true", help="with weights and maps of 8 bits; needs the extra onnxruntime"
    )
    onnx.add_argument(
        "--calibrate", type=count, metavar="N", help=f"training images that tell the range of the maps (default: {CALIBRATE})"
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn export`."""
    if options.calibrate and not options.int8:
        raise ArgumentError("--calibrate is for --int8; give both")
    of_onnx = {name: getattr(options, name) for name in ("raw", "float", "opset", "int8")}
    if options.format != "onnx" and any(of_onnx.values()):
        name = next(name for name, given in of_onnx.items() if given)
        raise ArgumentError(f"--{name} is for --format onnx; leave it out")
    if options.format in ("safetensors", "torch-names") and options.data_dir is not None:
        raise ArgumentError(
            "--data-dir is for files that are tried on images, and weights are written as they are; leave it out"
        )
    trained = RunFolder(options.run_folder).load(choose_device("cpu").device, options.weights)
    print("\n".join(FORMATS[options.format](trained, options)))


def out_of(options: argparse.Namespace, ending: str) -> Path:
    """The file that is asked for; by default one in this folder with the run's name."""
    return Path(options.out if options.out is not None else f"{Path(options.run_folder).resolve().name}{ending}")


def _onnx(trained: TrainedRun, options: argparse.Namespace) -> list[str]:
    calibrate = (options.calibrate or CALIBRATE) if options.int8 else None
    ending = f"{'-float' if options.float else ''}{'-int8' if options.int8 else ''}.onnx"
    return write_onnx(
        trained, out_of(options, ending), raw=not options.float, opset=options.opset or OPSET, calibrate=calibrate,
        data_dir=options.data_dir,
    ).lines()  # fmt: skip


def _numpy(trained: TrainedRun, options: argparse.Namespace) -> list[str]:
    name = re.sub(r"\W", "_", out_of(options, "").name, flags=re.ASCII)  # one that can be imported
    is_name = name.isidentifier() and not keyword.iskeyword(name) and not hides_another(name)
    out = options.out if options.out is not None else f"{name if is_name else f'run_{name}'}.py"
    return numpy_predictor(trained, out, data_dir=options.data_dir).lines()


def _safetensors(trained: TrainedRun, options: argparse.Namespace) -> list[str]:
    return write_weights(trained, out_of(options, ".safetensors")).lines()


def _torch_names(trained: TrainedRun, options: argparse.Namespace) -> list[str]:
    return write_weights(trained, out_of(options, "-torch.safetensors"), for_torchvision=True).lines()


FORMATS: dict[str, Callable[[TrainedRun, argparse.Namespace], list[str]]] = {
    "onnx": _onnx,
    "numpy": _numpy,
    "safetensors": _safetensors,
    "torch-names": _torch_names,
}
"""Writes the file, and returns what is to be told of it."""
