"""The lines that GPU arrays take, from device names to whole training runs, on every backend but NumPy's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, models, optim, training
from gpucnn import functions as F
from gpucnn.backend import Device, choose_device, device_of, to_device, xp_of
from gpucnn.backend.memory import is_out_of_memory
from gpucnn.cli.main import main
from gpucnn.errors import DeviceError, OutOfMemoryError
from gpucnn.testing import emulated_gpu
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.training import RunFolder, finite_guard
from gpucnn.training.sharding import Sharding
from tests.backends import Backend, host
from tests.runs.tiny_run import tiny_names


@pytest.fixture
def emulated(request: pytest.FixtureRequest) -> Callable[..., CupyStandIn]:
    """Call it for a GPU of one's own, as `emulated_gpu`."""
    if missing := Backend("emulated").missing():
        pytest.skip(missing)

    def start(**options: int) -> CupyStandIn:
        context = emulated_gpu("fast", **options)  # type: ignore[arg-type]
        stand_in = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        return stand_in

    return start


def test_auto_takes_the_gpu_and_says_so(gpu: Backend) -> None:
    assert str(choose_device("auto")) == "device: cuda:0 (a GPU that works was found)"


def test_devices_that_do_not_meet(gpu: Backend) -> None:
    device = Tensor(np.ones((1, 1, 4, 4), np.float32), requires_grad=True).to("cuda")
    on_host = Tensor(np.ones((2, 1, 3, 3), np.float32), requires_grad=True)
    with pytest.raises(
        DeviceError, match="tensors on cpu and cuda:0 met in one operation; move the model and the images to one device"
    ):
        F.conv2d(device * 1.0, on_host)
    with pytest.raises(DeviceError, match="arrays of cupy and numpy met in one operation; bring them together first"):
        xp_of(device.data, on_host.data)


def test_a_device_that_is_not_there(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(devices=2)
    with pytest.raises(DeviceError, match=r'"cuda:2" is not there: 2 GPU\(s\) present; fix: use "cuda:1" or lower'):
        choose_device("cuda:2")


def test_tensors_to_the_gpu_and_back(gpu: Backend) -> None:
    leaf = Tensor(np.ones(3, np.float32), requires_grad=True)
    moved = leaf.to("cuda")
    assert "device=cuda:0" in repr(moved)
    assert type(moved.numpy()) is np.ndarray
    (moved * 2.0).to("cpu").sum().backward()
    assert leaf.grad.tolist() == [2, 2, 2], "gradients find their way over a transfer"
    assert layers.Linear(10**7, 10**7).to("cuda").weight.device.index == 0, "and no memory is taken before it is needed"


def test_a_second_gpu_computes_alike(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(devices=2)
    images = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    logits = [models.LeNet5().to(device)(images) for device in ("cuda:0", "cuda:1")]
    assert [str(tensor.device) for tensor in logits] == ["cuda:0", "cuda:1"]
    np.testing.assert_array_equal(logits[0].numpy(), logits[1].numpy())


@pytest.mark.parametrize("fit", ["digits", "pad"])
def test_batches_are_made_on_the_device_to_the_very_bits(gpu: Backend, fit: str) -> None:
    raw = np.random.default_rng(1).integers(0, 256, (50, 2, 28, 28)).astype(np.uint8)
    labels = np.arange(50) % 10
    dataset = data.ArrayDataset(
        raw, labels, data.Preprocess(2, 28, 33, 255, "resize" if fit == "digits" else "pad"), 10
    )
    loaders = [
        data.DataLoader(part, 16, shuffle=True, seed=3, augment=data.RandomShift(3))
        for part in (dataset, dataset.to("cuda"))
    ]
    for _ in range(2):
        for (images, answers), (their_images, their_answers) in zip(*loaders, strict=True):
            assert xp_of(their_images) is not np
            np.testing.assert_array_equal(host(their_images), images)
            np.testing.assert_array_equal(host(their_answers), answers)
    image, label = dataset.to("cuda")[7]
    np.testing.assert_array_equal(host(image), dataset[7][0])
    assert int(label) == dataset[7][1]


def test_an_epoch_waits_for_the_gpu_at_its_end_alone(
    emulated: Callable[..., CupyStandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)  # which leaves no time to look whether all is finite in between
    stand_in = emulated()
    splits = data.load("digits")
    model = models.MLP(image_size=8).to("cuda")
    part = data.ArrayDataset(splits.train.images[:96], splits.train.labels[:96], splits.preprocess).to("cuda")
    loader = data.DataLoader(part, 32, shuffle=True)
    waits: list[int] = []

    class Watch(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            kinds = [operation.kind for operation in stand_in.operation_log]
            waits.append(kinds.count("download") + kinds.count("synchronize"))

    trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1, 0.9), loader, loader, callbacks=[Watch()])
    trainer.fit(1)
    assert len(waits) == 3
    assert waits[0] == waits[2], "no step waits"
    assert trainer.history[0]["train_loss"] > 0


def test_by_command(gpu: Backend, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tiny_names():
        for device in ("cpu", "cuda"):
            settings = "--model tiny --image-size 8 --batch-size 8 --epochs 2 --optimizer sgd"
            assert main(["train", *settings.split(), "--out", device, "--device", device]) == 0
        assert "device: cuda:0 (asked for)" in capsys.readouterr().out
        states = [RunFolder(in_tmp_path / device).load_model().state_dict() for device in ("cuda", "cpu")]
        for path, array in states[0].items():
            np.testing.assert_allclose(array, states[1][path], rtol=1e-2, atol=1e-3)
        assert main(["evaluate", "cuda"]) == 0
        assert capsys.readouterr().out.startswith("device: cuda:0 (a GPU that works was found)\n")


class Hungry(layers.Layer):
    """A small net whose hidden layer takes 8,000 bytes an image."""

    def __init__(self) -> None:
        self.flatten = layers.Flatten()
        self.hidden = layers.Linear(4, 2_000, activation="relu")
        self.dropout = layers.Dropout(0.5)
        self.output = layers.Linear(2_000, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.hidden(self.flatten(x))))


def hungry_trainer(batch_size: int, device: str = "cuda", shards: int = 1) -> training.Trainer:
    images, labels = np.ones((64, 1, 2, 2), np.uint8), np.arange(64) % 2
    loader = data.DataLoader(data.ArrayDataset(images, labels), batch_size)
    model = Hungry().to(device)
    return training.Trainer(model, optim.SGD(model.parameters(), 0.01), loader, loader, sharding=Sharding(shards))


def test_out_of_memory_names_layer_bytes_and_a_batch_that_fits(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(memory_bytes=800_000)
    trainer = hungry_trainer(64)
    images, labels = next(iter(trainer.train_loader))
    with pytest.raises(
        OutOfMemoryError,
        match=r"^cuda:0 is out of memory in (hidden|dropout|output|the gradient of (hidden|dropout|output)) \(\w+\), with a batch of 64: "
        r"[\d,]+ bytes asked for, [\d,]+ free before the step; a batch of (\d+) fits; use a batch size of \3$",
    ) as raised:
        trainer.train_step(images, labels)
    size = int(str(raised.value).rpartition(" ")[2])
    trainer.train_step(images[:size], labels[:size])
    with pytest.raises(OutOfMemoryError):
        trainer.train_step(images[: 4 * size], labels[: 4 * size])


def test_a_step_that_fits_once_the_pool_is_empty_is_made(emulated: Callable[..., CupyStandIn]) -> None:
    stand_in = emulated(memory_bytes=1_200_000)
    trainer = hungry_trainer(16)
    batch = next(iter(trainer.train_loader))
    attempts = []

    def attempt(images: np.ndarray, labels: np.ndarray) -> Any:
        attempts.append(trainer.model.dropout.calls)
        if len(attempts) == 1:
            stand_in.empty(10**9, np.uint8)
        return forward_and_backward(images, labels)

    step = trainer.training_step
    forward_and_backward, step.forward_and_backward = step.forward_and_backward, attempt  # type: ignore[method-assign]
    trainer.train_step(*batch)
    assert (attempts, trainer.step, trainer.model.dropout.calls) == ([0, 0], 1, 1)


def test_of_a_shard_the_batch_size_of_all_fits(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(memory_bytes=800_000)
    trainer = hungry_trainer(64, shards=2)
    images, labels = (np.concatenate([one] * 4) for one in next(iter(trainer.train_loader)))
    with pytest.raises(
        OutOfMemoryError, match=r"with a shard of 128: .*; a shard of (\d+) fits; use a batch size of (\d+)$"
    ) as raised:
        trainer.train_step(images, labels)
    words = str(raised.value).replace(";", "").split()
    fits, size = int(words[words.index("fits") - 1]), int(words[-1])
    assert size == 2 * fits
    trainer.train_step(images[:size], labels[:size])
    with pytest.raises(OutOfMemoryError):
        trainer.train_step(images[: 4 * size], labels[: 4 * size])


def test_a_shard_that_fits_once_the_pool_is_empty_is_made(emulated: Callable[..., CupyStandIn]) -> None:
    """The second of two shards: its masks are those of its place, the first shard's gradients stay, and counts are as ever."""

    def trained(failing: int) -> tuple[dict[str, np.ndarray], list[int], int]:
        stand_in = emulated(memory_bytes=1_600_000)
        trainer = hungry_trainer(16, shards=2)
        attempts: list[int] = []

        def attempt(images: np.ndarray, labels: np.ndarray) -> Any:
            attempts.append(trainer.model.dropout.calls)
            outputs = forward_and_backward(images, labels)
            if len(attempts) == failing:
                stand_in.empty(10**9, np.uint8)
            return outputs

        step = trainer.training_step
        forward_and_backward, step.forward_and_backward = step.forward_and_backward, attempt  # type: ignore[method-assign]
        trainer.train_step(*next(iter(trainer.train_loader)))
        return trainer.model.state_dict(), attempts, trainer.model.dropout.calls

    expected, attempts, calls = trained(0)
    assert (attempts, calls) == ([0, 0], 1)
    for failing in (1, 2):
        found, attempts, calls = trained(failing)
        assert (attempts, calls) == ([0, 0, 0], 1)
        for path, array in found.items():
            assert np.isfinite(array).all()
            np.testing.assert_array_equal(array, expected[path])


def test_not_one_image_fits(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(memory_bytes=40_000)
    trainer = hungry_trainer(4)
    with pytest.raises(OutOfMemoryError, match="not even one image fits; use a smaller model"):
        trainer.train_step(*next(iter(trainer.train_loader)))


def test_a_dropout_mask_is_drawn_again_after_a_failure(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(memory_bytes=800_000)
    trainer = hungry_trainer(64)
    images, labels = next(iter(trainer.train_loader))
    with pytest.raises(OutOfMemoryError):
        trainer.train_step(images, labels)
    tried = trainer.model.dropout.calls
    with pytest.raises(OutOfMemoryError):
        trainer.train_step(images, labels)
    assert trainer.model.dropout.calls - tried == tried <= 1, "only the batch that fitted drew one"


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_an_evaluation_that_does_not_fit_is_made_in_parts(emulated: Callable[..., CupyStandIn], device: str) -> None:
    emulated(memory_bytes=500_000)
    trainer = hungry_trainer(64, device)
    scores = training.evaluate(trainer.model, trainer.test_loader)
    assert scores.total == 64
    expected = training.evaluate(Hungry(), hungry_trainer(64).test_loader)
    assert scores.correct == expected.correct
    assert scores.loss == pytest.approx(expected.loss, rel=1e-4)


def test_an_evaluation_of_which_not_one_image_fits(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(memory_bytes=45_000)
    trainer = hungry_trainer(4)
    with pytest.raises(
        OutOfMemoryError, match=r"^cuda:0 is out of memory in .*; not even one image fits; use a smaller"
    ):
        training.evaluate(trainer.model, trainer.test_loader)


def test_cuda_s_own_words_for_no_memory_are_understood(emulated: Callable[..., CupyStandIn]) -> None:
    emulated()
    kinds = {"cupy_backends.cuda.api.runtime": "cudaErrorMemoryAllocation: out of memory",
             "cupy_backends.cuda.libs.cublas": "CUBLAS_STATUS_ALLOC_FAILED"}  # fmt: skip
    for module, text in kinds.items():
        error = type("LibraryError", (RuntimeError,), {"__module__": module})(text)
        trainer, attempts = hungry_trainer(8), []

        def attempt(
            images: np.ndarray,
            labels: np.ndarray,
            error=error,
            attempts=attempts,
            run=trainer.training_step.forward_and_backward,
        ) -> Tensor:  # type: ignore[no-untyped-def]
            attempts.append(len(images))
            if len(attempts) == 1:
                raise error
            return run(images, labels)

        trainer.training_step.forward_and_backward = attempt  # type: ignore[method-assign]
        trainer.train_step(*next(iter(trainer.train_loader)))
        assert attempts == [8, 8]
    assert not is_out_of_memory(RuntimeError("out of memory, says somebody else"))


def test_a_step_that_is_made_again_moves_running_statistics_once() -> None:
    def one_step(fail: bool) -> np.ndarray:
        model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Flatten(), layers.Linear(8, 2))
        images, labels = np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32), np.arange(4) % 2
        loader = data.DataLoader(data.ArrayDataset(images, labels), 4)
        trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loader, loader)
        if fail:
            with pytest.raises(MemoryError), mock.patch.object(F, "cross_entropy", side_effect=MemoryError):
                trainer.train_step(images, labels)
        trainer.train_step(images, labels)
        return model[1].running_mean.data.copy()

    np.testing.assert_array_equal(one_step(True), one_step(False))


def test_arrays_are_made_on_the_device_that_is_named(emulated: Callable[..., CupyStandIn]) -> None:
    emulated(devices=2)
    first = layers.Linear(2, 2).to("cuda:0")
    dataset = data.ArrayDataset(np.ones((4, 1, 2, 2), np.uint8), np.arange(4)).to("cuda:0")
    layers.Linear(2, 2).to("cuda:1")  # the current device is now another
    assert device_of(first.weight.data) == first.weight.device
    assert device_of(to_device(np.zeros(3), Device("cuda", 0))) == Device("cuda", 0)
    optim.SGD(first.parameters(), 0.1).gather()
    assert device_of(first.weight.data) == Device("cuda", 0)
    assert [len(images) for images, _ in data.DataLoader(dataset, 3)] == [3, 1]


def test_indices_beyond_a_data_set_are_refused_on_every_device(gpu: Backend) -> None:
    dataset = data.ArrayDataset(np.ones((3, 1, 2, 2), np.uint8), np.arange(3))
    for part in (dataset, dataset.to("cuda")):
        assert len(list(part)) == 3
        for indices in (3, -4, np.array([0, 7]), [5]):
            with pytest.raises(IndexError, match=r"index -?\d is out of range for 3 images"):
                part[indices]
