"""A failed step in a file, computed again elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn.errors import RunError, TrainingError
from gpucnn.training import RunConfig, RunFolder, load_checkpoint, prepare, replay, save_checkpoint
from tests.backends import Backend

BATCH = 400
Poison = Callable[[Any, Tensor], Tensor | None]


def poison_weight(model: Any, output: Tensor) -> None:
    """Stays in the model, and so comes into the file."""
    values = model.output.weight.numpy().copy()
    values[0, 0] = np.nan
    model.output.weight.assign(values)


def poison_output(model: Any, output: Tensor) -> Tensor:
    """Is of this process alone."""
    return output * np.float32(np.nan)


def fail(path: Path, poison: Poison, device: str = "cpu", **settings: Any) -> Path:
    """The file of a run whose third step fails."""
    config = RunConfig(model="mlp", device=device, epochs=1, batch_size=BATCH, checkpoint_every=1, seed=5, **settings)
    ready = prepare(config)
    trainer = ready.trainer(ready.callbacks(RunFolder(path)))

    def hook(layer: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return poison(ready.model, output) if trainer.step == 2 and layer.training else None

    next(iter(layer for name, layer in ready.model.named_layers() if name)).register_forward_hook(hook)
    with pytest.raises(TrainingError, match=r"^step 3 \(epoch 1, batch 3\)") as raised:
        trainer.fit(1)
    file = path / "failure-step-3.safetensors"
    assert f"look at every layer of that step with: gpucnn replay {file}" in raised.value.__notes__
    return file


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fail(tmp_path_factory.mktemp("failed") / "run", poison_weight)


@pytest.mark.sample(1)
@pytest.mark.parametrize("settings", [{}, {"mix": "mixup:0.3"}, {"label_smoothing": 0.0, "average": 0.9}])
def test_a_step_fails_again(tmp_path: Path, backend: Backend, settings: dict[str, Any]) -> None:
    file = fail(tmp_path / "run", poison_weight, backend.device_name, **settings)
    again = replay(file, backend.device_name)
    assert (again.step, again.epoch, again.batch, len(again.indices)) == (3, 1, 3, BATCH)
    fault = again.checked.fault()
    assert fault is not None
    assert fault.place == "the output of output (Linear)"
    assert f"first not finite is {fault.place}: {'; '.join(fault.facts)}" in again.diagnosis
    assert again.checked.images.finite
    elsewhere = replay(file, "cpu").checked.fault()
    assert elsewhere is not None
    assert (elsewhere.place, elsewhere.rows, elsewhere.fix) == (fault.place, fault.rows, fault.fix)


def test_dropouts_draw_the_masks_of_that_step(tmp_path: Path) -> None:
    """What comes out of each layer is as it was, also behind dropouts, whose masks depend on seed, place and count."""
    ready = prepare(RunConfig(model="nin", batch_size=16, epochs=1, seed=5, device="cpu"))
    dropouts = [layer for _, layer in ready.model.named_layers() if isinstance(layer, layers.Dropout)]
    for dropout in dropouts:
        dropout.calls = 17
    weight = list(ready.model.parameters())[-1]
    weight.assign(np.full(weight.shape, np.nan))
    trainer = ready.trainer(ready.callbacks(RunFolder(tmp_path / "run")))
    with pytest.raises(TrainingError):
        trainer.fit(1)
    assert trainer.failed_step is not None
    found = replay(tmp_path / "run" / "failure-step-1.safetensors", "cpu").checked
    assert repr(found) == repr(trainer.failed_step.checked)
    assert [dropout.calls for dropout in dropouts] == [17, 17]


def test_a_step_that_does_not_fail_elsewhere(tmp_path: Path) -> None:
    file = fail(tmp_path / "run", poison_output, label_smoothing=0.3)
    again = replay(file, "cpu")
    assert again.checked.fault() is None
    assert again.checked.loss == pytest.approx(mlp_loss(load_checkpoint(file).arrays, 0.3), rel=1e-5)
    assert "first not finite is the output of flatten (Flatten): output 100% NaN" in again.diagnosis


def mlp_loss(arrays: dict[str, np.ndarray], smoothing: float) -> float:
    """Of the multi-layer perceptron and the batch in a file, in plain NumPy."""
    named = {name: array.astype(np.float64) for name, array in arrays.items() if name.startswith("model/")}
    weights = [named[f"model/{layer}.{kind}"] for layer in ("hidden", "output") for kind in ("weight", "bias")]
    hidden = np.maximum(arrays["batch/images"].reshape(BATCH, -1) @ weights[0].T + weights[1], 0)
    logits = hidden @ weights[2].T + weights[3]
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    right = log_probabilities[np.arange(BATCH), arrays["batch/labels"]]
    return float(-((1 - smoothing) * right + smoothing * log_probabilities.mean(axis=1)).mean())


def test_a_new_run_removes_the_failed_step_of_an_earlier_one(tmp_path: Path) -> None:
    file = fail(tmp_path / "run", poison_weight)
    ready = prepare(RunConfig(model="mlp", device="cpu", epochs=1, batch_size=BATCH))
    trainer = ready.trainer(ready.callbacks(RunFolder(tmp_path / "run")))
    assert file.exists()
    trainer.fit(1)
    assert not file.exists()


def test_a_run_that_fails_at_once_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    ready = prepare(RunConfig(model="mlp", device="cpu", epochs=1, batch_size=BATCH))
    ready.model.output.bias.assign(np.full(10, np.inf))
    with pytest.raises(TrainingError, match="^step 1 ") as raised:
        ready.trainer(ready.callbacks(folder)).fit(1)
    assert raised.value.__notes__[-1] == "no checkpoint was saved"
    assert (tmp_path / "run" / "failure-step-1.safetensors").exists()
    RunFolder(tmp_path / "run").prepare()


def change(failed: Path, path: Path, **parts: Any) -> Path:
    """The failed step with other parts, in a file whose checksum is right."""
    kept = load_checkpoint(failed)
    arrays = {**kept.arrays, **parts.get("arrays", {})}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    values = {name: value for name, value in {**kept.values, **parts.get("values", {})}.items() if value is not None}
    save_checkpoint(path, arrays, values, {**kept.config, **parts.get("config", {})})
    return path


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"values": {"diagnosis": None}}, "a checkpoint, but of no step that failed; give a file failure-step-N.safeten"),
        ({"arrays": {"batch/images": None}}, "no batch of images, labels and indices in it"),
        ({"arrays": {"batch/labels": np.zeros(3)}}, "no batch of images, labels and indices in it"),
        ({"arrays": {"batch/labels": np.array(3)}}, "no batch of images, labels and indices in it"),
        ({"arrays": {"batch/images": np.zeros((0, 1, 8, 8))}}, "no batch of images, labels and indices in it"),
        ({"values": {"step": None}}, "does not tell which step it is of"),
        ({"values": {"epoch": "2"}}, "does not tell which step it is of"),
        ({"values": {"layers": 3}, "config": {"create": {"name": "alexnet"}}}, "does not fit its own description"),
        ({"config": {"create": {"name": "lenet9"}}}, "does not fit its own description .unknown model 'lenet9'"),
        ({"config": {"create": {"width": 9}}}, "does not fit its own description"),
        ({"config": {"create": 7}}, "does not fit its own description"),
        ({"config": {"create": {"name": "lenet5"}}}, "does not fit its own description .these parameters do not fit LeNet5"),
        ({"config": {"lr": -1}}, "lr: expected a number > 0 or find, got -1"),
        ({"config": {"speed": 9}}, "unknown setting 'speed'"),
        ({"arrays": {"batch/images": np.zeros((BATCH, 3, 5, 5), np.float32)}}, "does not fit its own description"),
        ({"arrays": {"batch/labels": np.full(BATCH, 77)}}, "labels must be from 0 to 9, got 77 to 77"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(failed: Path, tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    file = change(failed, tmp_path / "changed.safetensors", **parts)
    with pytest.raises(RunError, match=rf"^{file}: .*{message}"):
        replay(file, "cpu")


def test_a_damaged_file_is_refused(failed: Path, tmp_path: Path) -> None:
    content, file = failed.read_bytes(), tmp_path / "damaged.safetensors"
    for place in (5, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RunError, match=rf"^{file}: "):
            replay(file, "cpu")
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=rf"^{file}: not a checkpoint that can be read"):
        replay(file, "cpu")
    with pytest.raises(RunError, match="nothing: no such checkpoint"):
        replay(tmp_path / "nothing", "cpu")
