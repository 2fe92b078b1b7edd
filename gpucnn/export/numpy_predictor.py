"""A trained model as one file of Python, which needs NumPy alone, and one of weights beside it."""

import ast
import hashlib
import importlib.util
import io
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from gpucnn.atomic_file import check_place, telling_of, write_atomically
from gpucnn.backend import own_package
from gpucnn.checks import as_path
from gpucnn.data import Preprocess
from gpucnn.data.jpeg_decoders import PILLOW
from gpucnn.errors import ArgumentError, GraphError
from gpucnn.export.answer_check import Checked, check
from gpucnn.export.numpy_code import COLUMNS, quoted
from gpucnn.export.numpy_network import Network, numpy_network
from gpucnn.export.onnx_pixels import tall_rule
from gpucnn.export.onnx_runtime import Evaluator
from gpucnn.export.run_facts import check_run, run_facts
from gpucnn.export.run_images import images_to_try
from gpucnn.layers.graph import graph_of_any_batch
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import printed, shape_text

PARTS = Path(__file__).with_name("numpy_file")
SOURCES = ("predictor.py", "images.py", "functions.py")
"""What files are made of, in the order in which they come in them."""

AT_THE_END = "main"
"""The function that comes last, as it is for the command line."""

COMMENTS = {"TALL": "What is higher than a * width + b * size becomes lower first, as with Pillow."}
"""What the file says of its constants."""

OURS = "- written by: gpucnn "
"""What a line of a written file begins with."""


class WrittenPredictor(NamedTuple):
    """What `numpy_predictor` wrote, and what trying it found."""

    code: Path
    weights: Path
    size: int
    """Of the weights, in bytes."""
    checked: Checked

    def lines(self) -> list[str]:
        """For people to read."""
        return [
            str(self.checked),
            f"{self.code}: needs NumPy alone, and {self.weights.name} beside it, {self.size / 1e6:.2f} MB",
        ]


def numpy_predictor(
    trained: TrainedRun, path: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None
) -> WrittenPredictor:
    """Write the model of a run, from `gpucnn.load`, as code that needs NumPy alone, if that gives what the run does.

    `path` is a file .py, and a file .npz of the same name comes beside it; those of gpucnn's that are there are replaced. The code
    is there to be read: the network in lines that name the layers, and the functions that it needs. Its `predict(images)`
    takes bytes of any size and answers as `trained.predict` does. `data_dir` is the folder of the data set's files, by
    default that of the training, of which some are tried; where they are not there, the digits that come with gpucnn.

    Raises GraphError, which names layer, function and fix, for a model that no graph can follow, or with a function that has
    no counterpart, and for answers that are not finite or not those of the run; ArgumentError for another kind of path, a
    file there that is none of ours, or a run whose images another decoder than Pillow's has read, RunError if it cannot be written, DataError if the images of a `data_dir` are not there.
    """
    check_run("numpy_predictor", trained)
    if trained.decode != PILLOW:
        raise ArgumentError(
            f"numpy_predictor: the run learned from images decoded by {trained.decode}, and a predictor reads files with decode "
            f"{PILLOW}, which gives other bits; export it as onnx, which takes decoded images, or train with --decode {PILLOW}"
        )
    code, weights = _places(path)
    images_place = None if data_dir is None else str(as_path(data_dir, "numpy_predictor: data_dir"))
    side, channels = trained.preprocess.image_size, trained.preprocess.channels
    dtype = next((parameter.dtype for parameter in trained.model.parameters()), np.dtype(np.float32))
    graph = graph_of_any_batch(trained.model, np.zeros((2, channels, side, side), dtype))
    network = numpy_network(graph)
    sizes = graph.nodes[-1].sizes[1:] if graph.nodes else graph.images.shape[1:]
    if sizes != (len(trained.class_names),):
        raise GraphError(
            f"{trained.model.label}: a predictor tells which of {len(trained.class_names)} classes an image is of, and the "
            f"model gives {shape_text(('N', *sizes))}; give it a head with one output a class"
        )
    content = _npz(network.arrays)
    text = predictor_code(trained, network, weights.name, hashlib.sha256(content).hexdigest()).encode()
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / code.name
        trial.write_bytes(text)
        trial.with_suffix(".npz").write_bytes(content)
        checked = check(trained, _evaluator(trial), images_to_try(trained, images_place), raw=True)
    with telling_of(code):
        write_atomically(weights, content)
        write_atomically(code, text)
    return WrittenPredictor(code, weights, len(content), checked)


def hides_another(name: str) -> bool:
    """Whether a file of that name would come before a module that Python brings, or that a predictor needs."""
    return name in sys.stdlib_module_names or name in ("numpy", "PIL", "gpucnn")


def _places(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Those of the code and of the weights, where nobody else's are."""
    code = as_path(path, "numpy_predictor: path")
    if code.suffix != ".py":
        raise ArgumentError(f"numpy_predictor: the code's file must end in .py, got {printed(str(code))}")
    if hides_another(code.stem):
        raise ArgumentError(
            f"{printed(str(code))}: would be taken for the module {code.stem} by the programs beside it; choose another name"
        )
    weights = code.with_suffix(".npz")
    check_place(code)
    check_place(weights)
    is_ours = code.exists() and f"\n{OURS}" in code.read_text(errors="replace")
    for place in (code, weights):
        if place.exists() and not is_ours:
            raise ArgumentError(f"{place}: holds something else than a predictor of gpucnn; choose another name")
    return code, weights


def predictor_code(trained: TrainedRun, network: Network, weights: str, checksum: str) -> str:
    """The text of the file: what it is, constants, what a user calls, the network, and the functions that these need."""
    functions = {name: function for source in SOURCES for name, function in _functions(PARTS / source).items()}
    functions["logits"] = _logits(trained, network)
    functions["preprocess"] = _preprocess(trained)
    needed = _needed(functions, [AT_THE_END])
    body = [functions[name] for name in functions if name in needed and name != AT_THE_END]
    body.append(functions[AT_THE_END])
    text = "\n\n\n".join(body)
    rule = tall_rule() or (math.inf, 0)
    constants = {
        "WEIGHTS": f"Path(__file__).with_name({quoted(weights)})",
        "SHA256": quoted(checksum),
        "CLASSES": _listed("CLASSES", [quoted(name) for name in trained.class_names]),
        "CHANNELS": str(trained.preprocess.channels),
        "TALL": f"({', '.join('np.inf' if part == math.inf else str(part) for part in rule)})",
        "MEAN": repr(trained.preprocess.mean),
        "STD": repr(trained.preprocess.std),
    }
    used = _names(text)
    lines = [
        f"# {COMMENTS[name]}\n{name} = {value}" if name in COMMENTS else f"{name} = {value}"
        for name, value in constants.items()
        if name in used
    ]
    imports = _imports(used | _names("\n".join(lines)))
    start = 'if __name__ == "__main__":\n    sys.exit(main(sys.argv[1:]))'
    return f"{_docstring(trained, weights)}\n\n{imports}\n\n" + "\n".join(lines) + f"\n\n\n{text}\n\n\n{start}\n"


def _docstring(trained: TrainedRun, weights: str) -> str:
    """What the file says of itself."""
    known, preprocess = run_facts(trained), trained.preprocess
    colour = "grey" if preprocess.channels == 1 else "RGB"
    size, name = preprocess.image_size, Path(weights).stem
    data = str(trained.config.get("data_dir") or "")
    measured = [
        f"{key.replace('_', ' ')} {float(known[key]):.4f}" for key in ("test_accuracy", "val_accuracy") if key in known
    ]
    epoch = [f"of epoch {known['epoch']}"] if "epoch" in known else []
    facts = {
        "model": f"{known['model']} for {len(trained.class_names)} classes",
        "run": f"{known['run']}, trained on {known['data']}{f' in {data}' if data else ''}",
        "weights": ", ".join([known["weights"], *epoch, *measured]),
        "images": f"bytes of any size, which become {size}x{size} {colour}",
    }
    lines = [*(f"- {key}: {_said(value)}" for key, value in facts.items()), f"{OURS}{known['gpucnn_version']}"]
    return "\n".join(
        [
            '"""What is in an image, told by a trained model with NumPy alone.',
            "",
            *lines,
            "",
            f"{_said(weights)} has the weights, and belongs beside this file.",
            "",
            f"    from {_said(name)} import predict",
            '    predict(numpy.load("image.npy"))  # [(class, probability), ...]',
            '"""',
        ]
    )


def _said(text: str) -> str:
    """A text as it may stand in a docstring."""
    return printed(text).replace("\\", "\\\\").replace('"""', "'''")


def _listed(name: str, items: list[str]) -> str:
    """A tuple, in one line where it fits."""
    line = f"({', '.join(items)}{',' * (len(items) == 1)})"
    if len(f"{name} = {line}") <= COLUMNS:
        return line
    return "\n".join(["(", *(f"    {item}," for item in items), ")"])


def _logits(trained: TrainedRun, network: Network) -> str:
    """The network as a function."""
    side, channels = trained.preprocess.image_size, trained.preprocess.channels
    shape = f"(N, {channels}, {side}, {side})"
    return "\n".join(
        [
            "def logits(x: np.ndarray) -> np.ndarray:",
            f'    """The network: images {shape} to logits (N, {len(trained.class_names)})."""',
            *(["    w = weights()"] if network.arrays else []),
            *network.lines,
        ]
    )


def _preprocess(trained: TrainedRun) -> str:
    """How bytes of any size become what the network takes, as a function."""
    own: Preprocess = trained.preprocess
    size, native = own.image_size, own.native_size
    fit = "middle" if own.fit == "crop" else "squeezed"
    cut = f"the middle, at {native}x{native}" if own.fit == "crop" else f"squeezed to {native}x{native}"
    lines = [
        "def preprocess(images: Any, *, invert: bool = False) -> np.ndarray:",
        f'    """What the network takes, (N, {own.channels}, {size}, {size}): {cut}.',
        "",
        "    `images` is one or several, in a list or an array (N, H, W, C) or (N, C, H, W):",
        "    bytes, or floats from 0 to 1, (H, W), (H, W, C) or (C, H, W), C being 1, 3 or 4,",
        "    and of any size, or the path of a .npy file, or with Pillow of an image file.",
        '    """',
        "    found = []",
        "    for image in single_images(images):",
        f"        pixels = as_pixels(image, CHANNELS, {quoted(trained.shown().background)})",
        f"        found.append({fit}(pixels, {native}))",
    ]
    scale = own.full_scale
    if scale == 255:
        lines.append("    raw = np.stack(found)")
    else:
        lines.append(f"    raw = np.rint(np.stack(found) * ({scale} / 255)).astype(np.uint8)")
    lines += ["    if invert:", f"        raw = {scale} - raw", f"    x = raw / np.float32({scale})"]
    if size != native:
        lines.append(f"    x = {'with_margin' if own.fit == 'pad' else 'enlarged'}(x, {size})")
    lines.append("    return x" if own.mean is None else "    return (x - per_channel(MEAN)) / per_channel(STD)")
    return "\n".join(lines)


def _functions(source: Path) -> dict[str, str]:
    """The functions in a file, by name, as they stand there."""
    text = own_package.read(source).decode()
    lines = text.splitlines()
    found = {}
    for part in ast.parse(text).body:
        if isinstance(part, ast.FunctionDef):
            first = min([part.lineno, *(one.lineno for one in part.decorator_list)])
            found[part.name] = "\n".join(lines[first - 1 : part.end_lineno])
    return found


def _names(code: str) -> set[str]:
    """All names that a piece of code reads."""
    return {part.id for part in ast.walk(ast.parse(code)) if isinstance(part, ast.Name)}


def _needed(functions: Mapping[str, str], first: Iterable[str]) -> set[str]:
    """The functions that `first` call, and those that these call."""
    needed, waiting = set[str](), list(first)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in needed:
            needed.add(name)
            waiting.extend(_names(functions[name]))
    return needed


def _imports(used: set[str]) -> str:
    """The lines that import those of the used names that the parts' files import, Python's library first."""
    modules, names = set[str](), dict[str, set[str]]()
    for source in SOURCES:
        for part in ast.parse(own_package.read(PARTS / source)).body:
            if isinstance(part, ast.Import):
                modules.update(one.name for one in part.names if one.name in used)
            elif isinstance(part, ast.ImportFrom) and not str(part.module).startswith("gpucnn"):
                names.setdefault(str(part.module), set()).update(one.name for one in part.names if one.name in used)
    taken = [f"from {module} import {', '.join(sorted(found))}" for module, found in sorted(names.items()) if found]
    return "\n".join([*(f"import {module}" for module in sorted(modules)), *taken, "", "import numpy as np"])


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of a file .npz, the same arrays as the same bytes; `np.savez` would not take any name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def _evaluator(path: Path) -> Evaluator:
    """The file as what runs it."""
    module = _imported(path)

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits: np.ndarray = module.logits(module.preprocess(images))
        return logits, module.softmax(logits)

    return Evaluator(f"NumPy {np.__version__} alone", True, run)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("predictor_of_numpy_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
