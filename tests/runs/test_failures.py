"""When it goes wrong: what happens, what is said, and that no run is lost."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from gpucnn import Tensor, data, layers, optim
from gpucnn.errors import DataError, RunError, TrainingError
from gpucnn.training import (
    Callback,
    CheckpointWriter,
    FailureRecorder,
    RunFolder,
    RunRecorder,
    Trainer,
    finite_guard,
    load_checkpoint,
)
from tests.backends import Backend
from tests.training.small_run import small_set

CONFIG: dict[str, Any] = {"create": {"name": "mlp"}, "preprocess": {}, "class_names": ["0", "1", "2"], "data": "digits"}
SEVENTH = "6"
"""The path of a model's seventh layer."""


def deep_model() -> layers.Sequential:
    """Eleven layers, a convolution the seventh."""
    return layers.Sequential(
        layers.Conv2d(1, 3, 3, padding=1), layers.BatchNorm2d(3), layers.ReLU(),
        layers.Conv2d(3, 3, 3, padding=1), layers.BatchNorm2d(3), layers.ReLU(),
        layers.Conv2d(3, 2, 3), layers.ReLU(), layers.Flatten(), layers.Dropout(0.3), layers.Linear(8, 3),
    )  # fmt: skip


def run_in(
    path: Path, *callbacks: Callback, device: str = "cpu", dataset: Any = None, workers: int = 0, **options: Any
) -> Trainer:
    """A trainer of epochs of four steps, which keeps a run in `path`, with a checkpoint every third."""
    folder = RunFolder(path)
    model = deep_model().to(device)
    keepers = [RunRecorder(folder, CONFIG), FailureRecorder(folder, CONFIG), CheckpointWriter(folder, CONFIG, 3)]
    loader = data.DataLoader(dataset or small_set(), 4, shuffle=True, seed=3, workers=workers)
    return Trainer(
        model, optim.SGD(model.parameters(), 0.01, 0.9), loader, data.DataLoader(small_set(6, seed=1), 4),
        callbacks=[*callbacks, *keepers], **options,
    )  # fmt: skip


def told(error: BaseException) -> str:
    """What the command prints of an error."""
    return "; ".join([str(error), *getattr(error, "__notes__", [])])


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    return {path: parameter.numpy().copy() for path, parameter in trainer.model.named_parameters()}


class PoisonWeight(Callback):
    """Puts a NaN into a weight after so many steps."""

    def __init__(self, step: int, path: str, value: float = np.nan) -> None:
        self.step, self.path, self.value = step, path, value

    def on_savepoint(self, trainer: Trainer) -> None:
        if trainer.step == self.step and trainer.batch:
            parameter = trainer.optimizer.parameters[self.path]
            values = parameter.numpy().copy()
            values.flat[0] = self.value
            parameter.assign(values)


def poison_output(trainer: Trainer, path: str, step: int, row: int = 1) -> None:
    """Make one image's output of a layer NaN in the `step`th step, counted from 1."""
    layer = dict(trainer.model.named_layers())[path]

    def hook(_: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if trainer.step + 1 != step or not layer.training:
            return None
        spoiled = np.zeros((len(output), *(1 for _ in output.shape[1:])), output.dtype)
        spoiled[row] = np.nan
        return output + Tensor(spoiled).to(output.device)

    layer.register_forward_hook(hook)


# A NaN, planted


@pytest.mark.sample(1)
@pytest.mark.parametrize("looks", ["often", "late"])
def test_a_nan_in_the_seventh_layer_at_step_40(
    tmp_path: Path, backend: Backend, looks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every backend alike, however long a GPU is not waited for: the step, the layer, the sample, no weight spoiled."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e9 if looks == "often" else 1e-9)
    trainer = run_in(tmp_path, device=backend.device_name)
    poison_output(trainer, SEVENTH, step=40)
    before: dict[int, dict[str, np.ndarray]] = {}

    class Watch(Callback):
        def on_savepoint(self, trainer: Trainer) -> None:
            before.setdefault(trainer.step, weights(trainer))

    trainer.callbacks.append(Watch())
    with pytest.raises(TrainingError) as raised:
        trainer.fit(12)
    sample = trainer.train_loader.indices(9, 3)[1]
    assert re.fullmatch(
        r"step 40 \(epoch 10, batch 4\): the loss became nan; first not finite is the output of 6 \(Conv2d\): "
        r"output \S+ to \S+, mean \S+, 50.0% NaN; input \S+ to \S+, mean \S+; 6.weight \S+ to \S+, mean \S+; "
        rf"6.bias \S+ to \S+, mean \S+; samples affected first: {sample}; "
        r"likely fix: no number is large there: see what the layer, or a hook on it, computes, e.g. a division by zero; "
        r"the learning rate was 0.01; look at every layer of that step with: gpucnn replay \S+failure-step-40.safetensors; "
        r"\S+step-000000039.safetensors is the last good checkpoint; gpucnn train --resume \S+ goes on from there, .*",
        told(raised.value),
    )
    assert (trainer.step, trainer.epoch, trainer.batch) == (39, 9, 3)
    for path, array in weights(trainer).items():
        assert array.tobytes() == before[39][path].tobytes(), path
    checkpoint = load_checkpoint(tmp_path / "checkpoints" / "step-000000039.safetensors")
    assert all(np.isfinite(array).all() for array in checkpoint.arrays.values())
    kept = load_checkpoint(tmp_path / "failure-step-40.safetensors")
    for name, array in checkpoint.arrays.items():
        assert kept.arrays[name].tobytes() == array.tobytes(), name
    assert kept.arrays["batch/indices"].tolist() == trainer.train_loader.indices(9, 3).tolist()
    assert kept.values["layers"] == checkpoint.values["layers"]


def test_a_weight_that_becomes_nan_before_step_40(tmp_path: Path, backend: Backend) -> None:
    """Poisoned in the very forward pass, so that a step that is repeated is poisoned again, and the file's weights are, too."""
    trainer = run_in(tmp_path, device=backend.device_name)
    poison = PoisonWeight(39, f"{SEVENTH}.weight")
    trainer.model[5].register_forward_hook(lambda *_: poison.on_savepoint(trainer))
    with pytest.raises(TrainingError) as raised:
        trainer.fit(12)
    assert re.match(
        r"step 40 \(epoch 10, batch 4\): .* the output of 6 \(Conv2d\): .*; 6.weight .*, 1.9% NaN; 6.bias .*; samples affected "
        r"first: all 2 of the batch: \d+, \d+; likely fix: the layer's weights were not finite before this step: an earlier",
        told(raised.value),
    )
    kept = load_checkpoint(tmp_path / "failure-step-40.safetensors")
    assert np.isnan(kept.arrays[f"model/{SEVENTH}.weight"]).sum() == 1


def test_weights_that_are_not_finite_make_no_checkpoint(tmp_path: Path) -> None:
    trainer = run_in(tmp_path, PoisonWeight(9, f"{SEVENTH}.weight", np.inf))
    with pytest.raises(TrainingError, match=r"step 10 \(epoch 3, batch 2\): .*6.weight .*, 1.9% inf") as raised:
        trainer.fit(9)
    assert "step-000000006.safetensors is the last good checkpoint" in told(raised.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000003.safetensors", "step-000000006.safetensors"
    ]  # fmt: skip


def test_what_a_callback_breaks_is_found_on_a_gpu_too(
    tmp_path: Path, gpu: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not repeated with the steps, and so not traced."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    trainer = run_in(tmp_path, PoisonWeight(5, f"{SEVENTH}.weight"), device=gpu.device_name)
    with pytest.raises(
        TrainingError, match="in one of the steps 5 to 6 on .*: a callback has changed the model"
    ) as raised:
        trainer.fit(9)
    assert "step-000000003.safetensors is saved, go on with: gpucnn train --resume" in told(raised.value)


def test_a_failure_that_cannot_be_kept_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = run_in(tmp_path, fails_with(OSError(errno.ENOSPC, "No space left on device"), monkeypatch, after=7))
    poison_output(trainer, SEVENTH, step=8)
    with pytest.raises(TrainingError) as raised:
        trainer.fit(9)
    assert re.search(
        r"step 8 .*; the step itself is not kept: \S+failure-step-8.safetensors: the checkpoint cannot be written \(No space left "
        r"on device\); make room on the disk; \S+step-000000006.safetensors is the last good checkpoint",
        told(raised.value),
    )


# Everything else: each row says how the run is spoiled after its fifth step, and what is said then.


class Spoil(Callback):
    """Does something after a step."""

    def __init__(self, work: Callable[[], object], after: int = 5) -> None:
        self.work, self.after = work, after

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.step == self.after:
            self.work()


def fails_with(error: OSError, monkeypatch: pytest.MonkeyPatch, after: int = 5) -> Spoil:
    """Nothing can be written any more."""

    def fsync(handle: int) -> None:
        raise type(error)(*error.args)

    return Spoil(lambda: monkeypatch.setattr(os, "fsync", fsync), after)


class Broken(data.ArrayDataset):
    """A data set in which a sample cannot be read, once it is spoiled."""

    spoiled = False

    def __getitem__(self, indices: Any) -> data.Batch:
        if self.spoiled and 7 in np.asarray(indices):
            raise self.trouble(7)
        return super().__getitem__(indices)

    def trouble(self, sample: int) -> Exception:
        return ZeroDivisionError(f"sample {sample} divides by zero")


class OutOfMemory(Broken):
    def trouble(self, sample: int) -> Exception:
        return MemoryError("Unable to allocate 7 GiB")


class Situation(NamedTuple):
    """What a row spoils a run with."""

    folder: Path
    images: Path
    monkeypatch: pytest.MonkeyPatch


def image_files(folder: Path) -> data.ImageFolder:
    """Fourteen images of three classes, read anew every time."""
    draw = np.random.default_rng(0)
    for label in range(3):
        (folder / str(label)).mkdir(parents=True)
    for sample in range(14):
        pixels = draw.integers(0, 255, (4, 4)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / str(sample % 3) / f"{sample}.png")
    return data.ImageFolder(folder, 4, "grey", cache_bytes=0)


def broken(kind: type[Broken], workers: int, situation: Situation) -> Trainer:
    whole = small_set()
    dataset = kind(whole.images, whole.labels)
    return run_in(situation.folder, Spoil(lambda: setattr(dataset, "spoiled", True)), dataset=dataset, workers=workers)


def disk(error: int, situation: Situation) -> Trainer:
    return run_in(situation.folder, fails_with(OSError(error, os.strerror(error)), situation.monkeypatch))


def blocked(situation: Situation) -> Trainer:
    """A file comes in the place of the folder of checkpoints, which is still there under another name."""

    def block() -> None:
        (situation.folder / "checkpoints").rename(situation.folder / "moved")
        (situation.folder / "checkpoints").touch()

    return run_in(situation.folder, Spoil(block))


def vanished(workers: int, everything: bool, situation: Situation) -> Trainer:
    dataset = image_files(situation.images)
    gone = dataset.paths if everything else [dataset.paths[4]]
    return run_in(situation.folder, Spoil(lambda: [path.unlink() for path in gone]), dataset=dataset, workers=workers)


SAVED = r"; \S+(step-\d+.safetensors) is saved, go on with: gpucnn train --resume \S+"
NOT_WRITTEN = r"\S+step-000000006.safetensors: the checkpoint cannot be written \({}\); {}; \S+step-000000003.safetensors is the last"
IN_BATCH = r"; in batch \d of epoch [12], samples [\d, ]+ of the data set"
TABLE: dict[str, tuple[Callable[[Situation], Trainer], type[Exception], str]] = {
    "disk full": (
        lambda s: disk(errno.ENOSPC, s), RunError, NOT_WRITTEN.format("No space left on device", "make room on the disk")
    ),
    "over quota": (
        lambda s: disk(errno.EDQUOT, s), RunError, NOT_WRITTEN.format("Disk quota exceeded", "make room within your quota")
    ),
    "read-only disk": (
        lambda s: disk(errno.EROFS, s), RunError,
        NOT_WRITTEN.format("Read-only file system", "have the disk mounted for writing"),
    ),
    "read-only folder": (
        lambda s: disk(errno.EACCES, s), RunError, NOT_WRITTEN.format("Permission denied", "have the folder made writable")
    ),
    "no folder any more": (
        blocked, RunError, r"\S+checkpoints: cannot be written \(File exists\); a file is in the folder's place: move it away"
    ),
    "an image is gone": (
        lambda s: vanished(0, False, s), DataError, r"\S+9.png: no such image file; put it back whole" + ".*" + IN_BATCH
    ),
    "an image is gone under a worker": (
        lambda s: vanished(2, False, s), DataError, r"\S+9.png: no such image file; put it back whole" + ".*" + IN_BATCH
    ),
    "all images are gone": (
        lambda s: vanished(2, True, s), DataError, r"\S+.png: no such image file; put it back whole" + ".*" + IN_BATCH
    ),
    "a data set fails": (lambda s: broken(Broken, 0, s), ZeroDivisionError, "sample 7 divides by zero" + IN_BATCH),
    "a worker fails": (lambda s: broken(Broken, 2, s), ZeroDivisionError, "sample 7 divides by zero" + IN_BATCH),
    "out of memory": (lambda s: broken(OutOfMemory, 0, s), MemoryError, "Unable to allocate 7 GiB" + IN_BATCH),
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE)
def test_what_is_said_and_that_the_run_is_not_lost(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, kind, message = TABLE[row]
    threads = set(threading.enumerate())
    trainer = make(Situation(tmp_path / "run", tmp_path / "images", monkeypatch))
    with pytest.raises(kind) as raised:
        trainer.fit(3)
    assert type(raised.value) is kind
    assert re.match(message, told(raised.value)), told(raised.value)
    saved = re.search(SAVED, told(raised.value))
    assert saved, told(raised.value)
    assert trainer.error is raised.value
    assert set(threading.enumerate()) <= threads, "a thread goes on"
    monkeypatch.undo()
    assert_goes_on(tmp_path / "run" / ("moved" if row == "no folder any more" else "checkpoints"), saved[1])
    if "worker fails" in row:
        frames = [entry.name for entry in raised.traceback]
        assert frames[-1] == "__getitem__", "the traceback leads to where the worker failed"


def assert_goes_on(checkpoints: Path, newest: str) -> None:
    """The checkpoint that was named is the newest, and whole, nothing is half written, and a run goes on from there."""
    assert max(path.name for path in checkpoints.iterdir()) == newest
    assert not list(checkpoints.parent.rglob("*.part"))
    checkpoint = load_checkpoint(checkpoints / newest)
    resumed = run_in(checkpoints.parent / "again")
    resumed.restore(checkpoint.arrays, checkpoint.values)
    assert f"step-{resumed.step:09d}.safetensors" == newest
    resumed.fit(1)
    assert resumed.step > checkpoint.values["step"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        refused = subprocess.run(command, capture_output=True, text=True).stderr
    except OSError as error:
        refused = str(error)
    if not place.is_mount():
        pytest.skip(f"a small disk cannot be mounted here ({refused.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    def fill() -> None:
        with (small_disk / "other").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)) == 1 << 12:
                pass

    def fill_up() -> None:
        with pytest.raises(OSError, match="No space left"):
            fill()

    trainer = run_in(small_disk / "run", Spoil(fill_up))
    with pytest.raises(
        RunError, match=NOT_WRITTEN.format("No space left on device", "make room on the disk")
    ) as raised:
        trainer.fit(3)
    assert re.search(SAVED, told(raised.value))
    (small_disk / "other").unlink()
    assert_goes_on(small_disk / "run" / "checkpoints", "step-000000003.safetensors")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.runs.test_failures import Spoil, run_in
kill = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
run_in(Path(sys.argv[1]), Spoil(lambda: setattr(os, "fsync", kill))).fit(3)
"""


def test_a_process_that_is_killed_while_it_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run")], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert ended.returncode == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / "run" / "checkpoints").iterdir()].count(".part") == 1
    run_in(tmp_path / "run")  # whoever takes the run up again removes what is half written
    assert_goes_on(tmp_path / "run" / "checkpoints", "step-000000003.safetensors")
