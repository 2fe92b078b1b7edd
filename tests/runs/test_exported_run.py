"""A run out of an ONNX file: what `gpucnn.load(FILE.onnx)` gives, and what it says of files that are none of a run."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

import gpucnn
from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.errors import ArgumentError, LibraryError, OnnxError
from gpucnn.export import run_to_onnx
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.onnx_model.small_files import file_of, node

NAMES = ("a cat", "Größe", "c")
KINDS = {
    "digits": Preprocess(1, 8, 16, 16, "resize"),
    "padded": Preprocess(1, 12, 16, 255, "pad", (0.2,), (0.4,)),
    "photos": Preprocess(3, 16, 16, 255, "crop", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
}


def run_of(preprocess: Preprocess, row: dict[str, Any] | None = None) -> TrainedRun:
    """Of a network whose weights were drawn."""
    model = models.create("simplecnn", len(NAMES), preprocess.channels, preprocess.image_size, seed=3).eval()
    config = {"create": {"name": "simplecnn"}, "data": "digits" if preprocess.full_scale == 16 else "folder"}
    return TrainedRun(model, preprocess, NAMES, config, Weights("best", Path("x/best.safetensors"), row or {}))


def save(folder: Path, message: Any, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(message.SerializeToString())
    return path


@pytest.fixture(scope="module")
def photos() -> Any:
    """The file of a run of photos."""
    return run_to_onnx(run_of(KINDS["photos"], {"epoch": 3, "val_accuracy": 0.75, "val_loss": 1.0}), raw=False)


def changed(message: Any, entries: dict[str, str | None]) -> Any:
    """The file with these metadata; None for an entry that it has no more."""
    copy = type(message)()
    copy.CopyFrom(message)
    del copy.metadata_props[:]
    facts = {one.key: one.value for one in message.metadata_props} | entries
    onnx.helper.set_model_props(copy, {key: value for key, value in facts.items() if value is not None})
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_predicts_what_its_run_does(kind: str, tmp_path: Path) -> None:
    run = run_of(KINDS[kind])
    read = gpucnn.load(save(tmp_path, run_to_onnx(run, raw=False)), device="cpu")
    assert (read.preprocess, read.class_names) == (run.preprocess, NAMES)
    images = np.random.default_rng(1).integers(0, 256, (5, 23, 31, 3), np.uint8)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        expected, found = ([dict(one) for one in each.predict(images)] for each in (run, read))
    warned = [str(one.message) for one in said]
    assert warned[: len(warned) // 2] == warned[len(warned) // 2 :]
    assert len(warned) == (2 if kind == "digits" else 0)  # dark on light
    for before, after in zip(expected, found, strict=True):
        assert set(before) == set(after) == set(NAMES)
        assert np.isfinite(list(after.values())).all()
        assert max(abs(before[name] - after[name]) for name in NAMES) <= 1e-5
    assert len({tuple(row.values()) for row in found}) == len(images)  # it does look at them


@pytest.mark.parametrize("background", ["white", "black"])
def test_what_is_behind_transparent_images_travels_with_the_file(background: str, tmp_path: Path) -> None:
    run = run_of(KINDS["photos"])
    run.config["background"] = background
    read = gpucnn.load(save(tmp_path, run_to_onnx(run, raw=False)), device="cpu")
    image = np.random.default_rng(5).integers(0, 256, (16, 16, 4), np.uint8)
    np.testing.assert_array_equal(read.as_input(image), run.as_input(image))
    run.config["background"] = {"white": "black", "black": "white"}[background]
    assert np.abs(read.as_input(image) - run.as_input(image)).max() > 0.1


def test_what_is_known_of_the_weights(photos: Any, tmp_path: Path) -> None:
    path = save(tmp_path, photos)
    read = gpucnn.load(path, "best", "cpu")
    assert str(read.weights) == "best, of epoch 3 (val accuracy 0.7500)"
    assert read.config == {"create": {"name": "simplecnn"}, "data": "folder", "background": "auto"}
    assert repr(read).startswith(f"TrainedRun('{path}': simplecnn, 3 classes, images 16x16 rgb, cpu")
    assert gpucnn.load(path).weights == read.weights
    with pytest.raises(
        ArgumentError, match=r"net\.onnx: has the best weights of its run alone; leave weights out, or .*--weights last"
    ):
        gpucnn.load(path, "last")
    with pytest.raises(ArgumentError, match='^weights must be "best" or "last", got \'first\'$'):
        gpucnn.load(path, "first")


@pytest.mark.parametrize(
    "entries",
    [{"epoch": "9" * 5000}, {"epoch": "9" * 4000}, {"epoch": "-1"}, {"val_accuracy": "nan"}, {"val_accuracy": None}, {"epoch": None}],
)  # fmt: skip
def test_weights_of_which_nothing_is_known(entries: dict[str, str | None], photos: Any, tmp_path: Path) -> None:
    assert str(gpucnn.load(save(tmp_path, changed(photos, entries))).weights) == "best, of net.onnx"


def preprocess(**entries: Any) -> dict[str, str]:
    written: dict[str, Any] = {
        "channels": 3, "native_size": 16, "image_size": 16, "full_scale": 255, "fit": "crop", "mean": None, "std": None
    }  # fmt: skip
    return {"preprocess": json.dumps(written | entries)}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"preprocess": "{"}, "no valid 'preprocess' in its metadata (Expecting"),
        ({"preprocess": "[1]"}, "no valid 'preprocess' in its metadata ("),
        ({"preprocess": "[" * 100_000}, "no valid 'preprocess' in its metadata (maximum recursion depth"),
        ({"preprocess": "9" * 5000}, "no valid 'preprocess' in its metadata (Exceeds the limit"),
        ({"preprocess": json.dumps({"x" * 10**6: 1})}, "no valid 'preprocess' in its metadata ("),
        (preprocess(mean=[0.5] * 3), "(mean and std go together"),
        (preprocess(mean=[0.5] * 3, std=[float("nan")] * 3), "(std must be a tuple of 3 finite numbers"),
        (preprocess(mean=[0.5] * 3, std=[1, 0, 1]), "(std must be above 0"),
        (preprocess(mean=[0.5], std=[1]), "(mean must be a tuple of 3 finite numbers"),
        (preprocess(full_scale=300), "(full_scale must be at most 255"),
        (preprocess(fit="\x1b[2J"), '(fit must be "pad", "resize" or "crop"'),
        (preprocess(image_size=2**61, native_size=2**61), "(native_size must be below 2^31"),
        (preprocess(image_size=10**9, native_size=10**9), "images as its metadata 'preprocess' tells are (3, 1000000000, 1000000000)"),
        (preprocess(channels=1), "takes inputs (3, 16, 16), and images as its metadata 'preprocess' tells are (1, 16, 16)"),
        ({"background": "pink"}, "its metadata 'background' must be auto, white, black, got 'pink'"),
        ({"class_names": "{}"}, "its metadata 'class_names' are no list of texts"),
        ({"class_names": "[" * 100_000}, "its metadata 'class_names' are no list of texts"),
        ({"class_names": '["a", "b"]'}, "gives (1, 3) for an image, and has 2 class_names in its metadata"),
    ],
)  # fmt: skip
def test_metadata_that_no_run_has(entries: dict[str, str], message: str, photos: Any, tmp_path: Path) -> None:
    path = save(tmp_path, changed(photos, entries))
    with pytest.raises(OnnxError) as raised:
        gpucnn.load(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert text.endswith("; write it again with gpucnn export RUN --float")
    assert text.isprintable()
    assert len(text) < 1000


def test_a_file_from_elsewhere_is_told_what_it_lacks(photos: Any, tmp_path: Path) -> None:
    path = save(tmp_path, changed(photos, {"preprocess": None}))
    with pytest.raises(OnnxError) as raised:
        gpucnn.load(path)
    assert str(raised.value) == (
        f"{path}: no 'preprocess' in its metadata, by which gpucnn export RUN --float tells how images are prepared and what the "
        f"classes are called; of a file from elsewhere gpucnn train --model {path} --data NAME makes a run, and gpucnn.load_onnx "
        f"takes arrays"
    )
    elsewhere = save(tmp_path, file_of([node("Flatten", "images", "logits")], ["N", 1, 4, 4]))
    with pytest.raises(OnnxError, match=r"net\.onnx: no 'preprocess' and no 'class_names' in its metadata"):
        gpucnn.load(elsewhere)


def test_a_file_with_preprocessing_inside_names_the_fix(tmp_path: Path) -> None:
    for kind, made in KINDS.items():
        with pytest.raises(
            OnnxError,
            match=f"{kind}.onnx: it takes decoded images as bytes.* is that of gpucnn export RUN --float, without --int8$",
        ):
            gpucnn.load(save(tmp_path, run_to_onnx(run_of(made)), f"{kind}.onnx"))


@pytest.mark.parametrize(
    ("nodes", "size", "message"),
    [
        ([node("Flatten", "images", "logits")], 40_000, "(3, 40000, 40000), of more than 67,108,864 numbers; export a run of smaller ones"),
        ([node("Flatten", "images", "logits")], 2, "gives (1, 12) for an image, and has 3 class_names in its metadata"),
        ([node("Flatten", "images", "logits")], "S", "takes inputs of open sizes, and images as its metadata"),
        ([node("Reshape", "images shape", "logits")], 2, "does not compute images (3, 2, 2): "),
        ([node("Flatten", "images", "one"), node("Flatten", "images", "two")], 2, 'has 2 outputs, none of them "logits"'),
    ],
)  # fmt: skip
def test_networks_that_are_none_of_a_run(nodes: list[Any], size: int | str, message: str, tmp_path: Path) -> None:
    shape = {"shape": np.array([1, 7], np.int64)} if nodes[0].op_type == "Reshape" else {}
    file = file_of(nodes, ["N", 3, size, size], shape)
    if len(nodes) == 2:
        del file.graph.output[:]
        file.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, ["N", 12]) for name in ("one", "two"))
    facts = preprocess(image_size=size, native_size=size) if isinstance(size, int) else preprocess()
    onnx.helper.set_model_props(file, {**facts, "class_names": json.dumps(NAMES)})
    with pytest.raises(OnnxError) as raised:
        gpucnn.load(save(tmp_path, file))
    assert message in str(raised.value)


def test_paths_and_what_is_missing(tmp_path: Path, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(gpucnn.errors.RunError, match=r"a\.onnx: no run there"):
        gpucnn.load(tmp_path / "a.onnx")  # a run's folder may be called as it likes
    with pytest.raises(OnnxError, match=r"gone\.onnx: cannot be read: No such file or directory$"):
        gpucnn.load(tmp_path / "gone.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"noise" * 100)
    with pytest.raises(OnnxError, match=r"noise\.onnx: no ONNX file, or a damaged one$"):
        gpucnn.load(tmp_path / "noise.onnx")
    assert gpucnn.load(save(tmp_path, photos, "NET.ONNX")).class_names == NAMES
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(LibraryError, match=r'pip install "gpucnn\[onnx\]"'):
        gpucnn.load(tmp_path / "NET.ONNX")


def test_runs_of_folders_import_no_onnx(tmp_path: Path) -> None:
    program = (
        "import sys, gpucnn\ntry: gpucnn.load('nowhere')\nexcept gpucnn.errors.RunError: "
        "print([name for name in sys.modules if name.startswith(('onnx', 'gpucnn.onnx_model'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
