"""The learning-rate range test: what it finds, and that it leaves nothing behind."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.training import Trainer, find_lr
from gpucnn.training.find_lr import _examined
from tests.backends import Backend
from tests.training.small_run import assert_same, small_trainer

RUNS: dict[str, dict[str, Any]] = {
    "adam, accumulated, averaged": {
        "optimizer": lambda parameters: optim.Adam(parameters, 0.01), "accumulate": 3, "average": True,
    },
    "groups, clipped": {
        "optimizer": lambda parameters: optim.AdamW(
            [optim.Group(parameters[:2], lr_factor=0.1), optim.Group(parameters[2:], weight_decay=0.2)], 0.01
        ),
        "clip_norm": 1.0, "label_smoothing": 0.1,
    },
    "sgd on a plateau": {"schedule": lambda: optim.ReduceOnPlateau(0.05, patience=0, threshold=0.9)},
}  # fmt: skip


def new(name: str, device: str = "cpu") -> Trainer:
    options = dict(RUNS[name])
    schedule = options.pop("schedule", lambda: optim.one_cycle(0.05, 12))
    return small_trainer(schedule=schedule(), device=device, **options)


def searched(trainer: Trainer, steps: int, **options: Any) -> list[tuple[float, float]]:
    """The rates and losses of a test; whether so few images tell a rate is another matter."""
    seen: list[tuple[float, float]] = []
    with suppress(TrainingError):
        find_lr(trainer, steps, on_step=lambda rate, loss: seen.append((rate, loss)), **options)
    assert len(seen) >= 5
    return seen


@pytest.mark.parametrize("name", RUNS)
def test_training_afterwards_is_as_without(name: str) -> None:
    alone, after = new(name), new(name)
    searched(after, 16)
    assert_same(after.state(), alone.state())
    for trainer in (alone, after):
        trainer.fit(2)
    assert after.history == alone.history
    assert_same(after.state(), alone.state())
    searched(after, 10)  # between epochs, too, and with what the optimizer remembers
    assert_same(after.state(), alone.state())
    for trainer in (alone, after):
        trainer.fit(1)
    assert_same(after.state(), alone.state())


def test_it_leaves_nothing_behind_on_every_backend(backend: Backend) -> None:
    alone, after = (new("sgd on a plateau", backend.device_name) for _ in range(2))
    searched(after, 10, lowest=1e-4, highest=0.1)
    for trainer in (alone, after):
        trainer.fit(1)
    assert_same(after.state(), alone.state())


def test_modes_losses_and_frozen_layers_are_as_before() -> None:
    trainer = small_trainer()
    trainer.fit(1)
    trainer.model.eval()
    trainer.model[0].requires_grad_(False)
    loss, before = trainer.loss, trainer.state()
    searched(trainer, 20)
    assert (trainer.model.training, trainer.model[0].training, trainer.loss) == (False, False, loss)
    assert_same(trainer.state(), before)


def test_the_steps_are_those_of_training() -> None:
    """The losses, by hand: the loss after each step with its rate, on the batches of the epochs in turn."""
    trainer, by_hand = (small_trainer(label_smoothing=0.1) for _ in range(2))
    rates, found = zip(*searched(trainer, 10, lowest=1e-3, highest=1.0), strict=True)
    assert rates == pytest.approx([10 ** (3 * step / 9 - 3) for step in range(len(rates))])
    model, optimizer, losses = by_hand.model, by_hand.optimizer, []
    batches = [batch for epoch in range(3) for batch in by_hand.train_loader.batches(epoch)]
    for (images, labels), rate in zip(batches, (*rates, 0.0), strict=False):
        loss = F.cross_entropy(model(Tensor(images)), labels, label_smoothing=0.1)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = rate
        optimizer.step()
    assert list(found) == pytest.approx(losses[1:])


def course(noise: float, steps: int = 200) -> tuple[list[float], list[float]]:
    """Rates, and a loss that falls fastest at 2e-3, and is lowest near 5e-2, whence it rises without bound."""
    rates = [1e-6 * 1e7 ** (step / (steps - 1)) for step in range(steps)]
    draws = np.random.default_rng(4).standard_normal(steps)
    fall = [2.3 - 2 / (1 + (2e-3 / rate) ** 1.5) + math.expm1((rate / 0.3) ** 2) for rate in rates[:-30]]
    return rates, [loss + noise * draw for loss, draw in zip(fall, draws, strict=False)]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_steepest_and_minimum_are_found(noise: float) -> None:
    rates, losses = course(noise)
    found = _examined(rates, losses, 200)
    assert found.steepest == pytest.approx(2e-3, rel=0.1 + 3 * noise)
    assert 0.02 < found.minimum < 0.12
    assert found.lr == float(f"{max(found.steepest, found.minimum / 10):.0e}")
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == len(losses)


def test_what_is_said_of_it() -> None:
    rates, losses = course(0.0)
    found = _examined(rates, losses, 200)
    assert str(found) == "steepest at 2.0e-03, minimum at 3e-02 (a tenth of it: 3e-03); try --lr 3e-3"
    late = _examined([rate * 1e4 for rate in rates], losses, 200)
    assert str(late).endswith("; try --lr 30")


def test_a_loss_that_is_not_finite_ends_it() -> None:
    trainer, alone = (small_trainer(optimizer=lambda parameters: optim.SGD(parameters, 0.1)) for _ in range(2))
    seen = searched(trainer, 40, highest=1e12)
    assert len(seen) < 40
    assert np.isfinite(seen).all()
    assert trainer.failed_step is None
    assert_same(trainer.state(), alone.state())


def test_images_that_are_not_finite_are_no_divergence() -> None:
    images = np.full((12, 1, 4, 4), np.nan, np.float32)
    loader = data.DataLoader(data.ArrayDataset(images, np.arange(12) % 3), 4)
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    trainer = Trainer(model, optim.SGD(model.parameters()), loader, None)
    with pytest.raises(TrainingError, match=r"^find_lr: step 1 \(epoch 1, batch 1\): the loss became nan; "):
        find_lr(trainer)
    assert trainer.schedule is None


def test_a_loss_that_never_falls_is_told() -> None:
    trainer = small_trainer(optimizer=lambda parameters: optim.SGD(parameters, 0.1))
    before = trainer.state()
    with pytest.raises(
        TrainingError, match=r"^find_lr: the loss falls at no rate from 1e\+06 to .*; look whether the labels"
    ):
        find_lr(trainer, 20, lowest=1e6, highest=1e7)
    assert_same(trainer.state(), before)


def test_an_interruption_leaves_nothing_behind() -> None:
    trainer, alone = small_trainer(), small_trainer()

    def interrupt(rate: float, loss: float) -> None:
        if rate > 1e-3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_lr(trainer, on_step=interrupt)
    assert_same(trainer.state(), alone.state())
    assert trainer.schedule is alone.schedule is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 9}, "find_lr: steps must be an int >= 10, got 9"),
        ({"lowest": 0.0}, "find_lr: lowest must be above 0 and below highest, got 0 and 10"),
        ({"lowest": 1.0, "highest": 0.1}, "find_lr: lowest must be above 0 and below highest, got 1 and 0.1"),
        ({"highest": math.inf}, "find_lr: highest must be a number >= 0, got inf"),
        ({"on_step": 3}, "find_lr: on_step must be a function of (rate, loss), or None, got 3"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        find_lr(small_trainer(), **options)
    assert str(raised.value) == message
    with pytest.raises(ArgumentError, match=r"find_lr: expected a Trainer, got Sequential; give Trainer\("):
        find_lr(layers.Sequential())  # type: ignore[arg-type]
