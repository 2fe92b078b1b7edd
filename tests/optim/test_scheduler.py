"""Scheduler: a schedule in a loop of one's own gives the rates that PyTorch 2.13's schedulers gave, written down here."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn.errors import ArgumentError, GpucnnError, StateError, UnknownNameError

LOSSES = [1, 0.9, 0.95, 0.93, 0.92, 0.99, 0.5]

RATES: dict[str, tuple[Callable[[], Any], list[float]]] = {
    "StepLR(2, 0.5)": (lambda: optim.step_decay(0.1, 2, 0.5), [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125]),
    "MultiStepLR([2, 5])": (lambda: optim.multi_step(0.1, [2, 5]), [0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001]),
    "CosineAnnealingLR(6)": (
        lambda: optim.cosine(0.1, 6),
        [0.1, 0.093301270189, 0.075, 0.05, 0.025, 0.006698729811, 0.0],
    ),
    "OneCycleLR(7)": (
        lambda: optim.one_cycle(0.1, 7),
        [0.004, 0.098055662733, 0.091904437627, 0.067268383648, 0.035773877574, 0.009929679189],
    ),
    "ExponentialLR(0.9)": (
        lambda: optim.exponential(0.1, 0.9),
        [0.1, 0.09, 0.081, 0.0729, 0.06561, 0.059049, 0.0531441],
    ),
    "ReduceLROnPlateau(patience=1)": (
        lambda: optim.ReduceOnPlateau(0.1, patience=1),
        [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001],
    ),
    "LambdaLR": (lambda: lambda step: 0.1 / (1 + step), [0.1, 0.05, 0.1 / 3, 0.025]),
}
"""Of a learning rate 0.1; a second group has a fifth of each."""


def made(schedule: Any) -> optim.Scheduler:
    model = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.02}]
    return optim.Scheduler(optim.SGD(groups, lr=0.1), schedule)


def step(scheduler: optim.Scheduler, number: int) -> None:
    scheduler.step(*([LOSSES[number]] if isinstance(scheduler.schedule, optim.ReduceOnPlateau) else []))


@pytest.mark.parametrize("name", RATES)
def test_the_rates_are_pytorch_s(name: str) -> None:
    make, expected = RATES[name]
    scheduler, rates = made(make()), []
    for number in range(len(expected)):
        rates.append(scheduler.get_last_lr())
        step(scheduler, number)
    np.testing.assert_allclose(rates, [(rate, rate / 5) for rate in expected], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RATES)
def test_it_goes_on_where_it_was_saved(name: str) -> None:
    whole, first, again = (made(RATES[name][0]()) for _ in range(3))
    for number in range(5):
        step(whole, number)
    for number in range(3):
        step(first, number)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    assert again.optimizer.lr == first.optimizer.lr
    for number in range(3, 5):
        step(again, number)
    assert (again.steps, again.get_last_lr()) == (5, whole.get_last_lr())


def test_a_plateau_takes_the_loss_as_a_tensor() -> None:
    scheduler = made(optim.ReduceOnPlateau(0.1, patience=0))
    for _ in range(2):
        scheduler.step(Tensor(np.float32(1)))
    assert scheduler.optimizer.lr == pytest.approx(0.01)


def test_what_a_failing_schedule_leaves() -> None:
    scheduler = made(lambda step: [0.1, 0.2][step])
    scheduler.step()
    with pytest.raises(IndexError):
        scheduler.step()
    assert (scheduler.steps, scheduler.optimizer.lr) == (1, 0.2)


OPTIMIZER = optim.SGD(layers.Linear(2, 2).parameters(), 0.1)
WRONG: list[tuple[Callable[[], Any], type[GpucnnError], str]] = [
    (lambda: optim.Scheduler(3, optim.constant(0.1)), ArgumentError, "Scheduler: expected an optimizer, got 3"),
    (lambda: optim.Scheduler(OPTIMIZER, 0.1), ArgumentError, "Scheduler: schedule must be a function from the step to its learning rate, e.g. optim.cosine(0.1, 1000), got 0.1"),
    (lambda: made(optim.cosine(0.1, 5)).step(0.3), ArgumentError, "Scheduler: cosine(peak=0.1, total_steps=5) does not look at a loss; call scheduler.step()"),
    (lambda: made(optim.ReduceOnPlateau(0.1)).step(), ArgumentError, "Scheduler: ReduceOnPlateau(lr=0.1, factor=0.1, patience=10) looks at a loss; call scheduler.step(loss)"),
    (lambda: made(optim.ReduceOnPlateau(0.1)).step("low"), ArgumentError, "loss must be a number, got 'low'"),
    (lambda: made(optim.constant(0.1)).load_state_dict({}), StateError, "Scheduler: expected a state of constant(lr=0.1), got {}"),
    (lambda: made(optim.constant(0.1)).load_state_dict({"steps": -1, "schedule": None}), StateError, "Scheduler: steps must be an int >= 0, got -1"),
    (lambda: made(optim.constant(0.1)).load_state_dict(made(optim.ReduceOnPlateau(0.1)).state_dict()), StateError, "Scheduler: expected a state of constant"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:50] for *_, message in WRONG])
def test_the_message(call: Callable[[], Any], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(message)


def test_schedules_and_schedulers_say_what_they_are() -> None:
    scheduler = made(optim.warm_up(optim.cosine(0.1, 1000, end=0.001), 100))
    scheduler.step()
    assert repr(scheduler) == (
        "Scheduler(warm_up(schedule=cosine(peak=0.1, total_steps=1000, end=0.001), steps=100); step 1, lr=0.000999998)"
    )
    assert repr(optim.multi_step(0.1, [1, 2])) == "multi_step(peak=0.1, milestones=[1, 2])"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lr_scheduler", "optim has no lr_scheduler; it is Scheduler(optimizer, schedule), e.g. Scheduler(optimizer, optim.step_decay(0.1, 30)), and scheduler.step()"),
        ("StepLR", "optim has no StepLR; it is Scheduler(optimizer, optim.step_decay(lr, every, factor))"),
        ("RMSProp", "optim has no RMSProp; did you mean RMSprop?"),
        ("zzz", "optim has no zzz"),
    ],
)  # fmt: skip
def test_a_name_from_elsewhere_is_answered_with_the_word(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as raised:
        getattr(optim, name)
    assert str(raised.value) == message


def test_every_word_is_there() -> None:
    names = {word for text in optim._ELSEWHERE.values() for word in text.replace("(", " ").replace(".", " ").split()}
    assert {name for name in names if name.endswith("cay") or name[0].isupper()} <= {*dir(optim), "EMA"}


def test_initializers_of_pytorch() -> None:
    with pytest.raises(UnknownNameError) as raised:
        layers.initialization.kaiming_normal_  # noqa: B018
    assert str(raised.value) == (
        'initialization has no kaiming_normal_; it is "he_normal", as in Conv2d(1, 8, 3, initialize="he_normal")'
    )
    for name in layers.initialization._ELSEWHERE:
        assert not hasattr(layers.initialization, name), name


def test_an_optimizer_with_a_schedule_goes_through_pickle() -> None:
    optimizer = made(optim.cosine(0.1, 5)).optimizer
    twin = pickle.loads(pickle.dumps(optimizer))
    assert repr(twin) == repr(optimizer)
    assert [group["lr"] for group in twin.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert twin.param_groups[0]["params"][0] is twin.parameters["0.weight"]
