"""A run as an ONNX file: others give what `predict` does, and what does not is not written."""

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnxruntime import quantization
from PIL import Image

import gpucnn
from gpucnn.cli.main import main
from gpucnn.data import Preprocess
from gpucnn.errors import ArgumentError, DataError, GraphError, LibraryError, RunError
from gpucnn.export import answer_check, numpy_predictor, onnx_file, onnx_graph, run_to_onnx, write_onnx, write_weights
from gpucnn.runs.trained_run import TrainedRun
from tests.cli.small_runs import train
from tests.export.test_numpy_predictor import OF_MANY, Strange, hand_made


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures of many sizes, in colour and grey, one with a transparent part, one turned by its EXIF data."""
    place = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(3)
    for label, name in enumerate(("day", "night")):
        (place / "images" / name).mkdir(parents=True)
        for number in range(8):
            height, width = draw.integers(8, 120, 2)
            few = draw.integers(0, 128, (3, 4, 3), np.uint8) + np.uint8(120 * (1 - label))
            image = Image.fromarray(few).resize((int(width), int(height)), Image.Resampling.BICUBIC)
            if number == 2:
                image.convert("L").save(place / "images" / name / f"{number}.png")
            elif number == 3:
                turned = Image.Exif()
                turned[0x0112] = 6
                image.save(place / "images" / name / f"{number}.jpg", exif=turned)
            else:
                image.save(place / "images" / name / f"{number}.png")
    options = ["--data-dir", str(place / "images"), "--image-size", "12", "--model", "resnet20", "--normalize"]
    options += ["--epochs", "1", "--validation", "0.2", "--device", "cpu", "--quiet", "--no-graph"]
    assert main(["train", "--data", "folder", *options, "--out", str(place / "run")]) == 0
    return place / "run"


def answers(trained: TrainedRun, image: Any) -> np.ndarray:
    """What `predict` says, in the order of the classes."""
    told = dict(trained.predict(image, top=len(trained.class_names)))
    return np.array([told[name] for name in trained.class_names], np.float32)


def session(model: "onnx.ModelProto | Path") -> onnxruntime.InferenceSession:
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_photos_of_their_own_sizes_get_the_answers_of_predict(photos: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(photos, device="cpu")
    file = write_onnx(trained, tmp_path / "photos.onnx").file
    told = json.loads(session(file).get_modelmeta().custom_metadata_map["class_names"])
    assert told == list(trained.class_names) == ["day", "night"]
    run = session(file)
    files = sorted((photos.parent / "images").rglob("*.*"))
    assert len(files) == 16
    for path in files:
        with Image.open(path) as opened:  # as a user of the file decodes it
            upright = opened.rotate(-90, expand=True) if opened.getexif().get(0x0112) == 6 else opened
            pixels = np.asarray(upright.convert("RGB"))
        logits, probabilities = run.run(["logits", "probabilities"], {"images": pixels[None]})
        close(probabilities[0], answers(trained, path))
        powers = np.exp(logits.astype(np.float64) - logits.max())
        close(probabilities, powers / powers.sum())


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_any_number_of_digits_gets_the_answers_of_predict(opset: int, digits: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    raw = session(run_to_onnx(trained, opset=opset))
    ready = session(run_to_onnx(trained, raw=False, opset=opset))
    draw = np.random.default_rng(1)
    for count in (1, 5):
        images = draw.integers(0, 256, (count, 20, 13, 1), np.uint8)
        images[:, [0, -1]] = images[:, :, [0, -1]] = 0  # light on dark
        expected = np.stack([answers(trained, image) for image in images])
        close(raw.run(["probabilities"], {"images": images})[0], expected)
        close(ready.run(["probabilities"], {"images": trained.as_input(images)})[0], expected)


def test_what_goes_in_and_comes_out_is_described(digits: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    model = run_to_onnx(trained)
    assert model.ir_version == 8
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    raw, ready = session(model), session(run_to_onnx(trained, raw=False))
    (images,) = raw.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["N", "H", "W", "C"])
    (images,) = ready.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(float)", ["N", 1, 28, 28])
    for one in (raw, ready):
        assert [(out.name, out.shape) for out in one.get_outputs()] == [
            ("logits", ["N", 10]),
            ("probabilities", ["N", 10]),
        ]
    facts = raw.get_modelmeta().custom_metadata_map
    accuracy = json.loads((digits / "metrics.jsonl").read_text())["test_accuracy"]
    assert json.loads(facts.pop("preprocess")) == json.loads((digits / "config.json").read_text())["preprocess"]
    assert facts.pop("input").startswith(
        "decoded images of one size, grey or RGB, bytes from 0 to 255: (N, H, W, 1 or 3)"
    )
    assert facts == {
        "class_names": '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]', "run": "run", "model": "mlp", "data": "digits",
        "weights": "last", "epoch": "1", "test_accuracy": str(accuracy), "light_on_dark": "true",
        "gpucnn_version": gpucnn.__version__,
    }  # fmt: skip
    assert "divided by full_scale" in ready.get_modelmeta().custom_metadata_map["input"]


def test_the_best_weights_say_by_what_they_were_judged(photos: Path) -> None:
    trained = gpucnn.load(photos, device="cpu")
    facts = session(run_to_onnx(trained)).get_modelmeta().custom_metadata_map
    assert (facts["weights"], facts["data"], facts["light_on_dark"]) == ("best", "folder", "false")
    assert float(facts["val_accuracy"]) == json.loads((photos / "metrics.jsonl").read_text())["val_accuracy"]


def test_it_tells_how_far_apart_answers_are(digits: Path, tmp_path: Path) -> None:
    found = write_onnx(gpucnn.load(digits, device="cpu"), tmp_path / "x.onnx")
    assert found.checked.images == 32
    assert found.checked.sizes > 5
    assert found.checked.evaluator == f"onnxruntime {onnxruntime.__version__}"
    assert 0 < found.checked.probabilities < 1e-6
    assert 0 < found.checked.logits < 1e-5
    assert found.size == (tmp_path / "x.onnx").stat().st_size
    checked, written = found.lines()
    assert checked.startswith(f"checked with {found.checked.evaluator} on 32 of the run's test images in ")
    assert written == f"{tmp_path / 'x.onnx'}: {found.size / 1e6:.2f} MB, opset 17"


def test_without_onnxruntime_onnx_itself_tries_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    trained = gpucnn.load(photos, device="cpu")
    found = write_onnx(trained, tmp_path / "x.onnx")
    assert found.checked.evaluator == f"onnx.reference {onnx.__version__}"
    image = np.random.default_rng(0).integers(0, 256, (31, 20, 3), np.uint8)
    close(
        ReferenceEvaluator(str(found.file)).run(["probabilities"], {"images": image[None]})[0][0],
        answers(trained, image),
    )
    with pytest.raises(LibraryError, match=r'int8 needs onnxruntime \(.*\); pip install "gpucnn\[onnxruntime\]"'):
        write_onnx(trained, tmp_path / "y.onnx", calibrate=3)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_without_onnx_there_is_a_line_that_helps(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = gpucnn.load(digits, device="cpu")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(LibraryError, match=r'an ONNX file needs onnx \(.*\); pip install "gpucnn\[onnx\]"'):
        write_onnx(trained, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def changed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Have files with other weights than the run's."""
    right = run_to_onnx

    def wrong(trained: TrainedRun, **options: Any) -> onnx.ModelProto:
        model = right(trained, **options)
        weights = next(one for one in model.graph.initializer if one.name.endswith("weight"))
        array = change(onnx.numpy_helper.to_array(weights).copy())
        weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
        return model

    monkeypatch.setattr(onnx_file, "run_to_onnx", wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array * np.float32(1.2), r"the file's answers are not the run's, so that no file is written: checked with onnxruntime .* 0\.001 is allowed"),
        (lambda array: array * np.float32(np.nan), "the file's answers to an image are not finite numbers, so that nothing can be compared"),
    ],
)  # fmt: skip
def test_what_answers_otherwise_is_not_written(
    change: Any, message: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = gpucnn.load(digits, device="cpu")
    before = write_onnx(trained, tmp_path / "x.onnx").file.read_bytes()
    changed(monkeypatch, change)
    with pytest.raises(GraphError, match=message):
        write_onnx(trained, tmp_path / "x.onnx")
    with pytest.raises(GraphError, match=message):
        write_onnx(trained, tmp_path / "y.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert (tmp_path / "x.onnx").read_bytes() == before


@pytest.mark.parametrize(("function", "message"), OF_MANY)
def test_what_depends_on_many_images_is_not_written(function: Any, message: str, tmp_path: Path) -> None:
    trained = hand_made(tmp_path, Preprocess(1, 8, 32, 16, "resize"), ("a", "b"), Strange(function))
    with pytest.raises(GraphError, match=message):
        write_onnx(trained, tmp_path / "odd.onnx")
    assert not list(tmp_path.iterdir())


def test_a_run_that_gives_nan_is_not_written(digits: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    next(iter(trained.model.parameters())).array[:] = np.nan
    with pytest.raises(GraphError, match="gpucnn's answers to an image are not finite numbers"):
        write_onnx(trained, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind_stays(digits: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    thesis = tmp_path / "thesis.onnx"
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []), producer_name="pytorch")
    for content in (b"all of it", foreign.SerializeToString()):
        thesis.write_bytes(content)
        with pytest.raises(
            ArgumentError, match="thesis.onnx: holds something else than an ONNX file of gpucnn; choose another"
        ):
            write_onnx(trained, thesis)
        assert thesis.read_bytes() == content
    with pytest.raises(RunError, match=r"cannot be written \(a folder\)"):
        write_onnx(trained, tmp_path)
    with pytest.raises(RunError, match=r"cannot be written \(no folder .*nowhere\); make it first"):
        write_onnx(trained, tmp_path / "nowhere" / "x.onnx")
    with pytest.raises(ArgumentError, match=r"write_onnx: an ONNX file must end in \.onnx, got .*x\.pth"):
        write_onnx(trained, tmp_path / "x.pth")
    thesis.write_bytes(b"")  # as mktemp makes it
    write_onnx(trained, thesis)
    write_onnx(trained, thesis)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(digits: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    for name, write in (("x.onnx", write_onnx), ("x.py", numpy_predictor), ("x.safetensors", write_weights)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(RunError, match=rf"{name}: cannot be written \(no regular file"):
            write(trained, tmp_path / name)
        (tmp_path / name).unlink()


def test_without_its_images_digits_are_tried(photos: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(photos, device="cpu")
    trained.config["data_dir"] = str(tmp_path / "gone")
    found = write_onnx(trained, tmp_path / "x.onnx")
    assert found.checked.what.startswith("the digits that come with gpucnn, as the run's test images are not there (")
    assert found.checked.images == 32
    with pytest.raises(DataError, match="other"):
        write_onnx(trained, tmp_path / "y.onnx", data_dir=tmp_path / "other")
    with pytest.raises(DataError, match="gone"):
        write_onnx(trained, tmp_path / "y.onnx", calibrate=4)
    assert not (tmp_path / "y.onnx").exists()


def test_more_than_one_message_holds_is_tried_and_written(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "LARGEST_MESSAGE", 10_000)
    trained = gpucnn.load(digits, device="cpu")
    found = write_onnx(trained, tmp_path / "x.onnx")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert found.size == sum(path.stat().st_size for path in files)
    image = np.diag(np.arange(100, 109, dtype=np.uint8))[:, :, None]
    run = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    close(run.run(["probabilities"], {"images": image[None]})[0][0], answers(trained, image))


def test_int8_says_what_it_costs(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize_static = quantization.quantize_static

    def loud(*arguments: Any, **options: Any) -> None:
        logging.warning("Axis 1 is out-of-range for weight")
        warnings.warn("Please consider pre-processing", stacklevel=1)
        quantize_static(*arguments, **options)

    monkeypatch.setattr(quantization, "quantize_static", loud)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that does not log
    trained = gpucnn.load(photos, device="cpu")
    before = write_onnx(trained, tmp_path / "x.onnx")
    found = write_onnx(trained, tmp_path / "y.onnx", calibrate=5)
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger().handlers
    assert logging.root.manager.disable == logging.NOTSET
    assert found.size_before == before.size > 2.5 * found.size
    model = onnx.load(found.file)
    assert model.producer_name == "gpucnn"
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    made = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= made
    assert "BatchNormalization" not in made
    scales = [one for one in model.graph.initializer if one.name.endswith("_scale") and "weight" in one.name]
    assert [16] in [list(one.dims) for one in scales]  # one a channel
    kept, own = (session(one.file).get_modelmeta().custom_metadata_map for one in (found, before))
    assert kept.pop("int8").startswith("QDQ, calibrated on 5 of the run's train images")
    assert kept == own

    float32, int8 = session(before.file), session(found.file)
    right = changed = total = 0
    names = json.loads(own["class_names"])
    listed = [json.loads(line) for line in next(photos.glob("images-*.jsonl")).read_text().splitlines()]
    for path in sorted((photos.parent / "images").rglob("*.*")):
        if [
            one["part"] for one in listed if one.get("file") == path.relative_to(photos.parent / "images").as_posix()
        ] != ["test"]:
            continue
        with Image.open(path) as image:
            upright = image.rotate(-90, expand=True) if image.getexif().get(0x0112) == 6 else image
            images = np.asarray(upright.convert("RGB"))[None]
        first, second = (one.run(["probabilities"], {"images": images})[0].argmax() for one in (float32, int8))
        total += 1
        right += names[second] == path.parent.name
        changed += first != second
    assert found.int8 is not None
    assert total > 1
    assert (found.int8.total, found.int8.correct_int8, found.int8.changed) == (total, right, changed)
    assert found.lines()[1].startswith(
        f"int8: accuracy on the run's test images: {right / total:.4f} ({right}/{total}), before "
    )
    assert (
        found.lines()[2]
        == f"{found.file}: {found.size / 1e6:.2f} MB of int8, before {before.size / 1e6:.2f} MB, opset 17"
    )


def test_int8_that_is_not_finite_is_not_written(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: onnx.ModelProto, *others: Any) -> onnx.ModelProto:
        found = onnx.ModelProto()
        found.CopyFrom(model)
        weights = next(one for one in found.graph.initializer if one.name.endswith("weight"))
        array = onnx.numpy_helper.to_array(weights) * np.float32(np.nan)
        weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
        return found

    monkeypatch.setattr(onnx_file, "to_int8", broken)
    with pytest.raises(GraphError, match="the int8 file's answers are not finite numbers, so that no file is written"):
        write_onnx(gpucnn.load(digits, device="cpu"), tmp_path / "x.onnx", calibrate=3)
    assert not list(tmp_path.iterdir())


def test_arguments_are_looked_at_before_anything_is_done(digits: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    out: Any = tmp_path / "x.onnx"
    message = "run_to_onnx: trained must be a run as gpucnn.load gives it, got 'runs/x'"
    with pytest.raises(ArgumentError, match=message):
        run_to_onnx("runs/x")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="write_onnx: trained must be a run as gpucnn.load gives it, got 'runs/x'"):
        write_onnx("runs/x", out)  # type: ignore[arg-type]
    odd: list[dict[str, Any]] = [
        {"raw": "no"},
        {"calibrate": 0},
        {"calibrate": 2.5},
        {"opset": 12},
        {"opset": "17"},
        {"data_dir": 3},
    ]
    for options in odd:
        with pytest.raises(ArgumentError, match=next(iter(options))):
            write_onnx(trained, out, **options)
    with pytest.raises(ArgumentError, match="out"):
        write_onnx(trained, 3)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_how_far_apart_answers_may_be_is_far_above_rounding_and_below_a_mistake() -> None:
    assert 1e-4 < answer_check.LARGEST < 1e-2
