"""Runs whose network comes from an ONNX file: what they keep of it, that they need nothing else, and what does not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import gpucnn
from gpucnn.errors import ArgumentError, ConfigError, OnnxError, RunError
from gpucnn.runs.network import OnnxCopy
from gpucnn.training import RunConfig, RunFolder, Trainer, prepare, replay, resume
from tests.onnx_model.small_files import BESIDE, beside, content_beside, file_of, ints, node, numbers


def network(classes: int = 10, size: int | str = 8, channels: int = 1) -> Any:
    """Of digits of 8x8: what learns are a convolution, a batch norm and a product."""
    return file_of(
        [
            node("Conv", "images w b", "c", kernel_shape=[3, 3], strides=[2, 2]),
            node("BatchNormalization", "c scale shift mean var", "n"),
            node("Relu", "n", "r"),
            node("Dropout", "r", "d"),
            node("GlobalAveragePool", "d", "p"),
            node("Flatten", "p", "f"),
            node("Gemm", "f head bias", "logits", transB=1),
        ],
        ["N", channels, size, size],
        {
            "w": numbers(4, channels, 3, 3), "b": numbers(4), "scale": numbers(4) + 1, "shift": numbers(4), "mean": numbers(4),
            "var": np.abs(numbers(4)) + 0.5, "head": numbers(classes, 4), "bias": numbers(classes),
        },
    )  # fmt: skip


def fixed_batch(size: int) -> Any:
    """As torch.onnx.export writes x.view(x.size(0), -1) if it is not told that the batch is open."""
    nodes = [node("Reshape", "images shape", "rows"), node("Gemm", "rows w", "logits")]
    return file_of(nodes, [size, 1, 8, 8], {"shape": ints(size, -1), "w": numbers(64, 10)})


def with_softmax(axis: int = -1) -> Any:
    """A network whose file gives probabilities."""
    model = network()
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(node("Softmax", "scores", "shares", axis=axis))
    model.graph.output[0].name = "shares"
    return model


def written(folder: Path, model: Any, name: str = "net.onnx") -> str:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return str(path)


def config(model: str, **settings: Any) -> RunConfig:
    return RunConfig(**{"model": model, "epochs": 2, "batch_size": 512, "augment": (), "device": "cpu", **settings})


def train(model: str, out: Path, **settings: Any) -> tuple[Trainer, RunFolder]:
    ready, folder = prepare(config(model, **settings)), RunFolder(out)
    trainer = ready.trainer(ready.callbacks(folder))
    ready.finish(trainer, folder)
    return trainer, folder


def test_a_run_needs_nothing_but_its_folder(tmp_path: Path) -> None:
    source = written(tmp_path, network())
    trainer, folder = train(source, tmp_path / "run")
    assert folder.network is not None
    create = json.loads(folder.config_file.read_text())["create"]
    assert create == {
        "name": "net.onnx", "num_classes": 10, "in_channels": 1, "image_size": 8, "onnx": folder.network.file_name,
    }  # fmt: skip
    assert (folder.path / create["onnx"]).read_bytes() == Path(source).read_bytes()
    Path(source).unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(folder.path, moved)
    trained = gpucnn.load(moved, "last")
    for path, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(trained.model.state_dict()[path], array)
    images = np.zeros((3, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(trained.model(images).numpy(), trainer.model.eval()(images).numpy())


def test_it_learns_from_the_weights_of_the_file(tmp_path: Path) -> None:
    """All of it learns, statistics move, dropout draws; and the first loss is that of the file's weights."""
    source = written(tmp_path, network())
    ready = prepare(config(source))
    before = {path: array.copy() for path, array in ready.model.state_dict().items()}
    for path, array in gpucnn.load_onnx(source).state_dict().items():
        np.testing.assert_array_equal(before[path], array)
    trainer = ready.trainer()
    trainer.fit(1)
    after = trainer.model.state_dict()
    assert [path for path, array in before.items() if np.array_equal(array, after[path])] == []


def test_probabilities_are_left_out(tmp_path: Path) -> None:
    """Of the file, of the run that learns from it, and of that run when it is loaded: all give the logits of the same file without Softmax."""
    softmax, plain = written(tmp_path, with_softmax(), "softmax.onnx"), written(tmp_path, network(), "plain.onnx")
    images = numbers(4, 1, 8, 8)
    probabilities = gpucnn.load_onnx(softmax)(images).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    ready = prepare(config(softmax))
    assert ready.start == (
        "weights: those of the file, of which the run keeps a copy; its last Softmax is left out, as the loss takes logits",
    )
    assert prepare(config(plain)).start == ("weights: those of the file, of which the run keeps a copy",)
    np.testing.assert_array_equal(ready.model(images).numpy(), gpucnn.load_onnx(plain)(images).numpy())
    (trainer, folder), (other, _) = (
        train(softmax, tmp_path / "a", epochs=1, seed=1),
        train(plain, tmp_path / "b", epochs=1, seed=1),
    )
    assert trainer.history[-1]["train_loss"] == other.history[-1]["train_loss"]
    np.testing.assert_array_equal(
        gpucnn.load(folder.path, "last").model(images).numpy(), other.model.eval()(images).numpy()
    )
    resumed = resume(folder.path).ready.model.eval()
    assert resumed(images).numpy().min() < 0
    over_images = gpucnn.load_onnx(written(tmp_path, with_softmax(0)))
    assert not over_images.leave_softmax_out()


def test_the_copy_is_what_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another takes the place of, as soon as the run has its copy."""
    source, other = written(tmp_path, network()), network()
    other.graph.initializer[0].raw_data = numbers(4, 1, 3, 3, scale=3.0).tobytes()
    first = gpucnn.load_onnx(source).state_dict()
    made = OnnxCopy.of

    def of(path: str) -> OnnxCopy:
        copy = made(path)
        written(tmp_path, other)
        return copy

    monkeypatch.setattr(OnnxCopy, "of", of)
    ready = prepare(config(source))
    now = gpucnn.load_onnx(source).state_dict()
    assert any(not np.array_equal(now[path], array) for path, array in first.items())
    for path, array in ready.model.state_dict().items():
        np.testing.assert_array_equal(array, first[path])


def test_resumed_to_the_bit(tmp_path: Path) -> None:
    source = written(tmp_path, network())
    _, folder = train(source, tmp_path / "whole")
    ready, parts = prepare(config(source, checkpoint_every=1)), RunFolder(tmp_path / "parts")

    class Stop(gpucnn.training.Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.step == 4:
                raise KeyboardInterrupt

    stopped = ready.trainer([*ready.callbacks(parts), Stop()])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(2)
    Path(source).unlink()
    again = resume(parts.path)
    trainer = again.trainer(again.ready.callbacks(again.folder))
    again.ready.finish(trainer, again.folder)
    assert parts.model_file.read_bytes() == folder.model_file.read_bytes()
    assert parts.metrics_file.read_bytes() == folder.metrics_file.read_bytes()


def test_a_copy_that_is_gone_or_changed_is_told(tmp_path: Path) -> None:
    _, folder = train(written(tmp_path, network()), tmp_path / "run", epochs=1)
    copy = folder.path / json.loads(folder.config_file.read_text())["create"]["onnx"]
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"\0")
    for reader in (gpucnn.load, resume):
        with pytest.raises(
            RunError, match=r"network-\w+\.onnx: not the network of the run \(its content was changed\); put it back"
        ):
            reader(folder.path)
    copy.unlink()
    for reader in (gpucnn.load, resume):
        with pytest.raises(
            RunError,
            match=r"network-\w+\.onnx: the run's network cannot be read \(No such file or directory\); put it back",
        ):
            reader(folder.path)
    copy.write_bytes(content)
    gpucnn.load(folder.path)


def test_arrays_beside_the_file_are_in_the_copy(tmp_path: Path) -> None:
    one = network()
    (tmp_path / BESIDE).write_bytes(content_beside(one))
    source = written(tmp_path, beside(one))
    trainer, folder = train(source, tmp_path / "run", epochs=1)
    (tmp_path / BESIDE).unlink()
    copy = folder.path / json.loads(folder.config_file.read_text())["create"]["onnx"]
    assert content_beside(one)[:36] in copy.read_bytes()
    images = np.ones((1, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(
        gpucnn.load(folder.path, "last").model(images).numpy(), trainer.model.eval()(images).numpy()
    )


def test_another_run_in_the_same_folder_takes_its_own_file(tmp_path: Path) -> None:
    _, first = train(written(tmp_path, network()), tmp_path / "run", epochs=1)
    _, second = train(written(tmp_path, network(size="H")), tmp_path / "run", epochs=1)
    assert second.network is not None
    assert [path.name for path in second.path.glob("network-*")] == [second.network.file_name]
    assert first.network is not None
    assert first.network.file_name != second.network.file_name
    train("mlp", tmp_path / "run", epochs=1)
    assert list(second.path.glob("network-*")) == []


def test_a_step_that_failed_is_computed_again(tmp_path: Path) -> None:
    source = written(tmp_path, network())
    ready, folder = prepare(config(source, lr=1e30, schedule="constant")), RunFolder(tmp_path / "run")
    with pytest.raises(gpucnn.errors.TrainingError):
        ready.trainer(ready.callbacks(folder)).fit(1)
    Path(source).unlink()
    (failure,) = folder.path.glob("failure-step-*")
    again = replay(failure, "cpu")
    assert again.checked.fault() is not None


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        (network(channels=3), {}, r"net\.onnx: takes images of 3 channels, and those of the data have 1; choose mode rgb for a folder of images, or export it for these"),
        (network(channels=2), {}, r"net\.onnx: takes images of 2 channels, and those of the data have 1, or export it for these"),
        (fixed_batch(1), {}, r'net\.onnx: does not take images in batches of 3; it was exported for 1 image at a time: export it with an open batch, in torch\.onnx\.export by dynamic_axes=\{"images": \{0: "N"\}\} for an input named so: node 1 \(Gemm\): expected'),
        (fixed_batch(4), {}, r"net\.onnx: does not take images \(1, 8, 8\); it was exported for 4 images at a time: export it with an open batch"),
        (network(), {"image_size": 12}, r"net\.onnx: takes images of 8x8, and image_size is 12; leave image_size out, or export it with open sizes"),
        (network(classes=7), {}, r"net\.onnx: gives \(1, 7\) for an image, and the data has 10 classes, \(1, 10\); export it with a last layer of 10 outputs, or choose data with its classes"),
        (file_of([node("Flatten", "images", "logits")], ["N", 64]), {}, r"net\.onnx: takes inputs \(64,\); a run has square images \(C, H, W\): export it for these"),
        (file_of([node("Relu", "images", "logits")], ["N", "C", "H", "W"], axes=4), {}, r"net\.onnx: gives \(1, 1, 8, 8\) for an image, and the data has 10 classes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data(model: Any, settings: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=expected):
        prepare(config(written(tmp_path, model), **settings))


def test_sizes_that_the_file_leaves_open_are_those_of_the_data(tmp_path: Path) -> None:
    source = written(tmp_path, network(size="S"))
    assert prepare(config(source)).config.image_size == 8
    assert prepare(config(source, image_size=16)).config.image_size == 16


def test_several_outputs_are_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.output[0].name = "other"
    model.graph.node[-1].output[0] = "other"
    model.graph.output.append(model.graph.output[0])
    model.graph.output[1].name = "p"
    with pytest.raises(
        ArgumentError, match=r'net\.onnx: has 2 outputs; a run trains one, or that called "logits": export it with one'
    ):
        prepare(config(written(tmp_path, model)))


def test_images_are_normalised_as_the_file_tells(tmp_path: Path) -> None:
    """As gpucnn export writes it; unless it is asked for otherwise; and again where the run goes on."""
    model = network()
    model.metadata_props.add(key="preprocess", value='{"mean": [0.25], "std": [0.5]}')
    source = written(tmp_path, model)
    _, folder = train(source, tmp_path / "run", epochs=1, checkpoint_every=1)
    Path(source).rename(tmp_path / "kept.onnx")
    again = resume(folder.path)
    for ready in (prepare(config(str(tmp_path / "kept.onnx"))), again.ready):
        assert (ready.splits.preprocess.mean, ready.splits.preprocess.std) == ((0.25,), (0.5,))
    assert prepare(config(str(tmp_path / "kept.onnx"), normalize=False)).splits.preprocess.mean is None
    model.metadata_props[0].value = '{"mean": [0.25, 0.1, 0.1], "std": [0.5, 0.1, 0.1]}'
    with pytest.raises(
        ArgumentError,
        match=r"net\.onnx: its metadata 'preprocess' tells no mean and std that fit \(.*\); give normalize, yes or no",
    ):
        prepare(config(written(tmp_path, model)))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"gone\.onnx: cannot be read: No such file or directory"):
        prepare(config(str(tmp_path / "gone.onnx")))


@pytest.mark.parametrize(("name", "value"), [("weights", "w.pth"), ("freeze", 1), ("backbone_lr", 1e-4)])
def test_settings_that_are_of_models_by_name(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^{name} is {value}, but the model is an ONNX file, which has weights of its own, and trains as a whole; leave {name} out$",
    ):
        config("net.onnx", **{name: value})


def test_the_name_goes_by_the_content() -> None:
    assert OnnxCopy(b"a").file_name != OnnxCopy(b"b").file_name
    assert OnnxCopy(b"a").file_name == OnnxCopy(b"a").file_name
