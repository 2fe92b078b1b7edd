"""A last batch of one image: told before the first step, where the model would refuse it, and left out with drop_last."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import data, layers, models, optim
from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.training import RunConfig, Trainer, load_checkpoint, prepare, resume
from gpucnn.training.can_train import check_last_batch
from tests.backends import Backend
from tests.layers.own_layers import Noise
from tests.runs.tiny_run import TINY, Tiny, contents, go_on, tiny_names, train
from tests.training.small_run import small_set


def ends_in_a_vector() -> layers.Layer:
    return layers.Sequential(
        Noise(), layers.Flatten(), layers.Linear(16, 4), layers.BatchNorm1d(4), layers.Linear(4, 3)
    )


def ends_in_one_pixel() -> layers.Layer:
    return layers.Sequential(
        layers.Conv2d(1, 4, 4), layers.BatchNorm2d(4), layers.ReLU(), layers.Flatten(), layers.Linear(4, 3)
    )


class OwnNorm(layers.Layer):
    """Normalises in its own forward, without a layer that could be asked."""

    def __init__(self) -> None:
        self.head = layers.Linear(16, 3)

    def forward(self, x: Any) -> Tensor:
        return (
            self.head(F.batch_norm(F.flatten(x), None, None, training=True))
            if self.training
            else self.head(F.flatten(x))
        )


def has_many_pixels() -> layers.Layer:
    return layers.Sequential(layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.Flatten(), layers.Linear(16, 3))


def is_frozen() -> layers.Layer:
    model = ends_in_a_vector()
    model[3].requires_grad_(False)  # type: ignore[index]
    return model


def other_norms() -> layers.Layer:
    return layers.Sequential(layers.Flatten(), layers.LayerNorm(16), layers.GroupNorm(1, 16), layers.Linear(16, 3))


def trainer_of(model: layers.Layer, count: int = 13, size: int = 4, **options: Any) -> Trainer:
    loader = data.DataLoader(small_set(count), size, shuffle=True, **options)
    return Trainer(model, optim.SGD(model.parameters(), 0.1), loader, None)


@pytest.mark.sample(4)
@pytest.mark.parametrize("make", [ends_in_a_vector, ends_in_one_pixel, OwnNorm])
def test_it_is_told_before_the_first_step(make: Callable[[], layers.Layer], backend: Backend) -> None:
    trainer = trainer_of(make().to(backend.device_name))
    with pytest.raises(ArgumentError) as raised:
        trainer.fit(1)
    assert str(raised.value).startswith(
        "13 images in batches of 4 leave one for the last batch, with which every epoch would end in an error: "
    )
    assert "a single value per channel has no variance to learn from, got input (1, " in str(raised.value)
    assert str(raised.value).endswith("; use batch_size 5, or drop_last to leave that image out")
    assert (trainer.step, trainer.batch) == (0, 0)
    for count, size, options in ((13, 5, {}), (13, 4, {"drop_last": True}), (12, 4, {}), (3, 3, {})):
        trainer_of(make().to(backend.device_name), count, size, **options).fit(1)


@pytest.mark.parametrize("make", [has_many_pixels, is_frozen, other_norms])
def test_who_takes_one_image_gets_it(make: Callable[[], layers.Layer]) -> None:
    trainer = trainer_of(make())
    trainer.fit(1)
    assert trainer.step == 4


def test_the_refusal_of_the_step_itself_is_the_one_foreseen() -> None:
    model = ends_in_a_vector()
    with pytest.raises(ShapeError, match=r"3 \(BatchNorm1d\): a single value per channel"):
        trainer_of(model).train_step(np.zeros((1, 1, 4, 4), np.float32), np.array([0]))
    with pytest.raises(ArgumentError, match=r"3 \(BatchNorm1d\): a single value per channel"):
        trainer_of(model).fit(1)


@pytest.mark.parametrize(
    ("count", "size", "fix"),
    [
        (129, 64, "use batch_size 63, or drop_last to leave that image out"),
        (3, 2, "use batch_size 3, or drop_last"),
        (7, 6, "use batch_size 5, or drop_last"),
        (1, 8, "; add images"),
        (9, 8, "use batch_size 7, or drop_last"),
        (6, 1, "batches of one image are not what the model trains on: .*; use batch_size 2 or more"),
    ],
)  # fmt: skip
def test_the_batch_size_that_is_named_fits(count: int, size: int, fix: str) -> None:
    trainer = trainer_of(ends_in_a_vector(), count, size)
    with pytest.raises(ArgumentError, match=fix):
        trainer.fit(1)


def test_a_trial_leaves_the_model_as_it_was() -> None:
    tried, other = (layers.Sequential(Noise(), layers.Dropout(0.3), *has_many_pixels()) for _ in range(2))
    before = tried.state_dict()
    tried.eval()
    check_last_batch(tried, data.DataLoader(small_set(5), 4))
    assert not any(layer.training for _, layer in tried.named_layers())
    for path, array in tried.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    x = small_set(4).images
    np.testing.assert_array_equal(tried.train()(x).numpy(), other(x).numpy())


def test_what_fails_for_another_reason_is_left_to_the_first_step() -> None:
    with pytest.raises(ShapeError, match=r"0 \(Linear\): expected input \(\.\.\., 3\)"):
        trainer_of(layers.Sequential(layers.Linear(3, 3), layers.BatchNorm1d(3))).fit(1)
    with pytest.raises(ShapeError, match="InstanceNorm2d.*of more than one pixel"):
        trainer_of(layers.Sequential(layers.Conv2d(1, 2, 4), layers.InstanceNorm2d(2), layers.Flatten())).fit(1)

    class Broken(data.ArrayDataset):
        def __getitem__(self, indices: Any) -> Any:
            raise OSError("the disk has gone")

    whole = small_set(5)
    model = ends_in_a_vector()
    loader = data.DataLoader(Broken(whole.images, whole.labels), 4)
    with pytest.raises(OSError, match="the disk has gone") as raised:
        Trainer(model, optim.SGD(model.parameters(), 0.1), loader, None).fit(1)
    assert "in batch 0 of epoch 0" in raised.value.__notes__[0]


def test_no_batch_at_all_is_told_when_the_loader_is_made() -> None:
    with pytest.raises(
        ArgumentError, match="DataLoader: 5 images give no batch of 8 with drop_last; add images or lower"
    ):
        data.DataLoader(small_set(5), 8, drop_last=True)
    with pytest.raises(ArgumentError, match="DataLoader: 0 images give no batch of 8; add images"):
        data.DataLoader(data.Subset(small_set(5), np.empty(0, int)), 8)


class TinyVector(Tiny):
    """Ends in a batch norm of a vector."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.output = layers.Sequential(self.output, layers.BatchNorm1d(10))


def vector_names() -> Any:
    return mock.patch.dict(models._BY_NAME, tiny=TinyVector)


def test_the_command_line_tells_it_before_a_folder_is_made(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [
        "train",
        "--model",
        "tiny",
        "--image-size",
        "8",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ]
    with tiny_names(), vector_names():
        assert main([*train, "--batch-size", "41"]) == 1
        assert capsys.readouterr().err == (
            "gpucnn train: 42 images in batches of 41 leave one for the last batch, with which every epoch would end in an "
            "error: output.1 (BatchNorm1d): a single value per channel has no variance to learn from, got input (1, 10); use "
            "batch_size 40, or drop_last to leave that image out\n"
        )
        assert not Path("run").exists()
        assert main([*train, "--batch-size", "41", "--drop-last"]) == 0
        assert main([*train, "--batch-size", "40"]) == 0
        assert main([*train, "--batch-size", "43", "--drop-last"]) == 1
        assert "42 images give no batch of 43 with drop_last" in capsys.readouterr().err


def test_a_run_that_drops_its_last_batch_resumes_to_the_bit(tmp_path: Path) -> None:
    with tiny_names():
        config = RunConfig(**TINY, drop_last=True)
        ready = prepare(config)
        assert (len(ready.train_loader), ready.length.steps_per_epoch) == (5, 5), (
            "42 images: five of eight, and two left out"
        )
        assert len(ready.test_loader) == 1, "what is measured is all of it"
        whole = train(tmp_path / "whole", drop_last=True, checkpoint_every=1)
        for until in (2, 5, 7):
            half = train(tmp_path / f"half {until}", until, drop_last=True, checkpoint_every=1)
            resumed = resume(half.path)
            assert resumed.ready.config.drop_last
            go_on(resumed)
            assert contents(half) == contents(whole)
    assert load_checkpoint(whole.checkpoints.files()[-1]).values["fits"]["batches an epoch"] == 5
