"""Every schedule against PyTorch's, rate by rate, and ReduceOnPlateau over drawn losses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import layers, optim
from gpucnn.optim import one_cycle

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
lr_scheduler = torch.optim.lr_scheduler

STEPS = 50

Agree = Callable[..., None]


def rates_of(make: Callable[..., object], peak: float, steps: int = STEPS) -> np.ndarray:
    """The rates of PyTorch's scheduler, which `make` makes of an optimizer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=peak)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


PEAK = 0.3
CASES = {
    "constant": (optim.constant(PEAK), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step_decay 7": (optim.step_decay(PEAK, 7), lambda o: lr_scheduler.StepLR(o, 7)),
    "step_decay 1": (optim.step_decay(PEAK, 1, 0.9), lambda o: lr_scheduler.StepLR(o, 1, 0.9)),
    "multi_step": (optim.multi_step(PEAK, [1, 20, 49]), lambda o: lr_scheduler.MultiStepLR(o, [1, 20, 49])),
    "multi_step 0.3": (optim.multi_step(PEAK, (5, 6), 0.3), lambda o: lr_scheduler.MultiStepLR(o, [5, 6], 0.3)),
    "exponential": (optim.exponential(PEAK, 0.93), lambda o: lr_scheduler.ExponentialLR(o, 0.93)),
    "cosine": (optim.cosine(PEAK, STEPS), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
    "cosine, end": (optim.cosine(PEAK, 97, 0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 97, 0.1)),
    "cosine_restarts": (optim.cosine_restarts(PEAK, 8), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 8)),
    "cosine_restarts 3": (
        optim.cosine_restarts(PEAK, 4, 3, 0.02),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 3, 0.02),
    ),
    "polynomial": (optim.polynomial(PEAK, 40), lambda o: lr_scheduler.PolynomialLR(o, 40)),
    "polynomial 2.5": (optim.polynomial(PEAK, 45, 2.5), lambda o: lr_scheduler.PolynomialLR(o, 45, 2.5)),
    "polynomial, end": (
        optim.polynomial(PEAK, 30, end=0.06),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=30),
    ),
    "warm_up": (
        optim.warm_up(optim.constant(PEAK), 10, start=PEAK / 5),
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=10),
    ),
    "warm_up, step_decay": (
        optim.warm_up(optim.step_decay(PEAK, 20), 13, start=PEAK / 4),
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=13), lr_scheduler.StepLR(o, 20)]
        ),
    ),
    "warm_up, exponential": (
        optim.warm_up(optim.exponential(PEAK, 0.9), 9),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: min(step / 9, 1.0) * 0.9**step),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_schedules(agree: Agree, name: str) -> None:
    ours, theirs = CASES[name]
    expected = rates_of(theirs, PEAK)
    rates = np.array([ours(step) for step in range(STEPS)])
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-15)
    agree(name.partition(" ")[0].rstrip(","), name, {"rates": (rates, expected)})


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("threshold", [1e-4, 0.1])
@pytest.mark.parametrize("least", [0.0, 0.05])
def test_reduce_on_plateau(
    agree: Agree, seed: int, patience: int, cooldown: int, threshold: float, least: float
) -> None:
    """Losses fall and rise again, and one is NaN. PyTorch's `eps`, below which it reduces nothing, is 0."""
    rng = np.random.default_rng(seed)
    losses = np.maximum(0.1, 2 * 0.93 ** np.arange(STEPS)) + rng.uniform(0, 0.3, STEPS)
    losses[7] = np.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=PEAK)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=threshold, cooldown=cooldown, min_lr=least, eps=0
    )
    ours = optim.ReduceOnPlateau(PEAK, 0.5, patience, threshold, cooldown, least)
    rates, expected = [], []
    for step, loss in enumerate(losses):
        ours.observe(float(loss))
        scheduler.step(float(loss))
        rates.append(ours(step))
        expected.append(optimizer.param_groups[0]["lr"])
    assert len(set(expected)) > 1
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=0)
    configuration = (seed, patience, cooldown, threshold, least)
    agree("ReduceOnPlateau", configuration, {"rates": (np.array(rates), np.array(expected))})


@pytest.mark.parametrize("total_steps", [1, 2, 3, 5, 6, 7, 11, 20, 97, 100, 1000, 4690])
@pytest.mark.parametrize("warmup", [None, 0.25, 0.45, 0.9])
def test_one_cycle(agree: Agree, total_steps: int, warmup: float | None) -> None:
    """The learning rate of every step. Not for a warm-up of exactly one step, where PyTorch divides by zero."""
    peak = 0.3
    ours = one_cycle(peak, total_steps) if warmup is None else one_cycle(peak, total_steps, warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps, pct_start=0.3 if warmup is None else warmup, cycle_momentum=False
    )
    expected = []
    for step in range(total_steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total_steps - 1:
            scheduler.step()
    rates = np.array([ours(step) for step in range(total_steps)])
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=0)
    agree("one_cycle", (total_steps, warmup), {"rates": (rates, np.array(expected))})


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", ["step_decay 1", "cosine", "warm_up, step_decay"])
def test_groups_and_schedulers_train_alike(kind: str, name: str) -> None:
    """Dicts as groups, one that comes later, and a scheduler that is asked once an epoch of three steps."""
    model = layers.Sequential(layers.Linear(4, 5), layers.Tanh(), layers.Linear(5, 3), layers.Linear(3, 2)).astype(
        "float64"
    )
    twin = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3), torch.nn.Linear(3, 2)
    ).double()
    twin.load_state_dict({path: torch.from_numpy(array) for path, array in model.state_dict().items()})
    options = {"momentum": 0.9} if kind == "SGD" else {}

    def made(one: Any, optimizers: Any) -> Any:
        groups = [
            {"params": list(one[0].parameters()), "lr": PEAK / 4},
            {"params": one[2].parameters(), "weight_decay": 0.02},
        ]
        optimizer = getattr(optimizers, kind)(groups, lr=PEAK, weight_decay=0.01, **options)
        optimizer.add_param_group({"params": list(one[3].parameters()), "lr": PEAK * 2, "weight_decay": 0.0})
        return optimizer

    ours, theirs = made(model, optim), made(twin, torch.optim)
    schedule, make = CASES[name]
    scheduler, other = optim.Scheduler(ours, schedule), make(theirs)
    rng = np.random.default_rng(0)
    for number in range(18):
        images, labels = rng.standard_normal((6, 4)), rng.integers(0, 2, 6)
        loss = F.cross_entropy(model(images), labels)
        ours.zero_grad()
        loss.backward()
        ours.step()
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(twin(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
        theirs.step()
        if number % 3 == 2:
            scheduler.step()
            other.step()
        rates = [group["lr"] for group in theirs.param_groups]
        np.testing.assert_allclose(scheduler.get_last_lr(), rates, rtol=1e-9, atol=1e-15)
    for path, array in model.state_dict().items():
        np.testing.assert_allclose(array, twin.state_dict()[path].numpy(), rtol=1e-7, atol=1e-10)
