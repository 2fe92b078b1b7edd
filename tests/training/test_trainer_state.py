"""A trainer that is restored, at whatever step, goes on to the bits of the one that never stopped."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import data, layers, optim
from gpucnn.errors import StateError
from gpucnn.training import Callback, Trainer
from tests.backends import Backend
from tests.training.small_run import BATCHES, MakeOptimizer, State, assert_same, sgd, small_trainer

EPOCHS = 3
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": sgd,
    "sgd without momentum": lambda parameters: optim.SGD(parameters, 0.1),
    "adam": lambda parameters: optim.Adam(parameters, 0.01),
    "adamw": lambda parameters: optim.AdamW(parameters, 0.01),
    "rmsprop": lambda parameters: optim.RMSprop(parameters, 0.01),
    "adagrad": lambda parameters: optim.Adagrad(parameters, 0.01),
    "lion": lambda parameters: optim.Lion(parameters, 0.01),
}
SCHEDULES: dict[str, Callable[[], optim.Schedule | None]] = {
    "no schedule": lambda: None,
    "one cycle": lambda: optim.one_cycle(0.05, EPOCHS * BATCHES),
    "plateau": lambda: optim.ReduceOnPlateau(0.05, patience=0, threshold=0.9),
}
OTHERS: list[dict[str, Any]] = [{}, {"accumulate": 3, "average": True, "lookahead": 4}]


class Saver(Callback):
    """Collects the state wherever it can be saved."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def on_savepoint(self, trainer: Trainer) -> None:
        self.states.append(trainer.state())


def through_json(state: State) -> State:
    return state[0], json.loads(json.dumps(state[1]))


def go_on_from_everywhere(first: int = 0, every: int = 1, **options: Any) -> int:
    """Restore a new trainer from every savepoint of a run, or every so many, and compare all later states.

    How many savepoints there were.
    """

    def new(saver: Saver) -> Trainer:
        return small_trainer(saver, **{**options, "schedule": options["schedule"]()})

    whole = Saver()
    trainer = new(whole)
    trainer.fit(EPOCHS)
    assert_same(trainer.state(), whole.states[-1])
    for position, state in list(enumerate(whole.states[:-1]))[first::every]:
        rest = Saver()
        resumed = new(rest)
        resumed.restore(*through_json(state))
        assert_same(resumed.state(), state)
        resumed.fit(EPOCHS - resumed.epoch)
        assert len(rest.states) == len(whole.states) - position - 1
        for found, expected in zip(rest.states, whole.states[position + 1 :], strict=True):
            assert_same(found, expected)
    return len(whole.states)


@pytest.mark.parametrize("others", OTHERS, ids=lambda others: "average, accumulate" if others else "plain")
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_going_on_from_every_step_gives_the_same_bits(optimizer: str, schedule: str, others: dict[str, Any]) -> None:
    # Each optimizer goes on from every savepoint: from a third of them with each of the schedules.
    first = (list(OPTIMIZERS).index(optimizer) + list(SCHEDULES).index(schedule)) % 3
    count = go_on_from_everywhere(first, 3, optimizer=OPTIMIZERS[optimizer], schedule=SCHEDULES[schedule], **others)
    steps = 2 if others else BATCHES
    assert count == EPOCHS * (steps + 1)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_going_on_with_clipping_and_label_smoothing(clip: str) -> None:
    go_on_from_everywhere(schedule=SCHEDULES["one cycle"], label_smoothing=0.1, **{clip: 0.01})


def test_going_on_on_every_backend(backend: Backend) -> None:
    schedule = SCHEDULES["one cycle"]
    whole = small_trainer(saver := Saver(), schedule=schedule(), average=True, lookahead=3, device=backend.device_name)
    whole.fit(2)
    for state in (saver.states[1], saver.states[BATCHES]):
        resumed = small_trainer(schedule=schedule(), average=True, lookahead=3, device=backend.device_name)
        resumed.restore(*through_json(state))
        resumed.fit(2 - resumed.epoch)
        assert_same(resumed.state(), whole.state())


def test_a_state_moves_between_devices(gpu: Backend) -> None:
    there = small_trainer(saver := Saver(), average=True, device="cuda")
    there.fit(1)
    here = small_trainer(average=True)
    here.restore(*saver.states[1])
    assert_same(here.state(), saver.states[1])
    back = small_trainer(average=True, device="cuda")
    back.restore(*here.state())
    back.fit(1)
    assert_same(back.state(), there.state())


def test_the_run_that_is_compared_with_is_not_trivial() -> None:
    """Every part of the state changes on the way; else forgetting it would not show."""
    trainer = small_trainer(saver := Saver(), schedule=SCHEDULES["plateau"](), average=True, lookahead=2)
    trainer.fit(EPOCHS)
    first, last = saver.states[0], saver.states[-2]
    constant = [
        name
        for name in first[0]
        if name in last[0] and np.array_equal(first[0][name], last[0][name]) and "total" not in name
    ]
    assert constant == []
    assert set(last[0]) >= {"metrics/loss_sum", "average/average/updates", "optimizer/0.weight/momentum"}
    same = [name for name, value in first[1].items() if value == last[1][name]]
    assert sorted(same) == ["fits", "stop_reason", "weight_decay"]


def test_a_state_is_a_copy() -> None:
    trainer = small_trainer(saver := Saver())
    trainer.fit(1)
    state = copy.deepcopy(saver.states[0])
    trainer.fit(1)
    assert_same(saver.states[0], state)


def test_a_rate_that_a_callback_set_comes_back() -> None:
    trainer = small_trainer()
    trainer.optimizer.lr, trainer.optimizer.weight_decay = 0.02, 0.3
    resumed = small_trainer()
    resumed.restore(*trainer.state())
    assert (resumed.optimizer.lr, resumed.optimizer.weight_decay) == (0.02, 0.3)


def test_stopping_is_part_of_the_state() -> None:
    class Stop(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.step == BATCHES + 1:
                trainer.stop("enough is known")

    trainer = small_trainer(Stop())
    assert len(trainer.fit(9)) == 2
    assert (trainer.epoch, trainer.finished, trainer.stop_reason) == (2, True, "enough is known")
    resumed = small_trainer()
    resumed.restore(*trainer.state())
    assert (resumed.finished, resumed.stop_reason) == (True, "enough is known")
    resumed.fit(1)
    assert (resumed.epoch, resumed.stop_reason) == (3, "")


def test_a_run_that_was_told_to_stop_in_the_middle_of_an_epoch_stops_at_its_end() -> None:
    class Stop(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.step == BATCHES + 1:
                trainer.stop("enough is known")

    trainer = small_trainer(Stop(), saver := Saver())
    trainer.fit(9)
    state = saver.states[BATCHES + 2]
    assert (state[1]["step"], state[1]["stop_reason"]) == (BATCHES + 2, "enough is known")
    resumed = small_trainer()
    resumed.restore(*state)
    resumed.fit(8)
    assert_same(resumed.state(), trainer.state())


def test_between_the_batches_of_a_step_nothing_is_saved() -> None:
    trainer = small_trainer(accumulate=3)
    images, labels = next(trainer.train_loader.batches(0))
    trainer.train_step(images, labels)
    with pytest.raises(
        StateError, match="batch 1 of epoch 1 is not the last of the 3 that make one step .* in the hook on_savepoint"
    ):
        trainer.state()


def test_a_state_with_a_lookahead_needs_one() -> None:
    state = small_trainer(lookahead=2).state()
    for options in ({}, {"lookahead": 3}):
        with pytest.raises(StateError, match=r"the state is of another trainer: lookahead was \[12, 2, 0.95\], is "):
            small_trainer(**options).restore(*state)
    assert "lookahead" not in small_trainer().state()[1]["fits"], "as the version before has it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": OPTIMIZERS["adam"]}, "optimizer was 'SGD', is 'Adam' here"),
        ({"schedule": optim.ReduceOnPlateau(1.0)}, "schedule with a state was None, is 'ReduceOnPlateau' here"),
        ({"average": True}, "average was False, is True here"),
        ({"lookahead": 2}, r"lookahead was None, is \[12, 2, 0.95\] here"),
        ({"accumulate": 2}, "batches a step was 1, is 2 here"),
    ],
)
def test_a_state_of_a_run_of_another_kind_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=f"the state is of another trainer: {message}; build the trainer as it was"):
        small_trainer(**options).restore(*small_trainer().state())


def test_a_state_of_other_data_layers_or_callbacks_is_refused() -> None:
    arrays, values = small_trainer().state()
    other = small_trainer()
    other.train_loader = data.DataLoader(other.train_loader.dataset, 5)
    with pytest.raises(StateError, match="batches an epoch was 4, is 3 here"):
        other.restore(arrays, values)
    other = small_trainer()
    other.callbacks.clear()
    with pytest.raises(StateError, match=r"callbacks with a state was \['Counting'\], is \[\] here"):
        other.restore(arrays, values)
    other = small_trainer()
    other.model = layers.Sequential(*list(other.model)[:4], layers.Flatten(), layers.Linear(8, 3))  # type: ignore[call-overload]
    with pytest.raises(StateError, match=r"layers with a state was \['4'\], is \[\] here"):
        other.restore(arrays, values)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("epoch", -1), ("epoch", 1), ("epoch", 1.0), ("batch", 5), ("batch", True), ("step", None), ("lr", "fast"),
        ("lr", float("nan")), ("weight_decay", -0.1), ("stop_reason", 3), ("history", {}), ("history", [3]),
        ("callbacks", []), ("callbacks", [3]), ("schedule", {}), ("layers", {}), ("layers", {"4": "x"}), ("layers", {"4": {}}),
        ("layers", {"4": {"calls": -1}}), ("layers", {"4": {"calls": 1}, "lost": {}}), ("layers", {"4": {"calls": 1}, "0": {"x": 1}}),
        ("fits", None), ("fits", {}),
    ],
)  # fmt: skip
def test_values_that_are_none_of_a_state_are_refused(entry: str, value: object) -> None:
    trainer = small_trainer()
    arrays, values = trainer.state()
    with pytest.raises(
        StateError,
        match="of another (trainer|model)|not those of a trainer's state|calls, the number|self.x that could take 1",
    ):
        trainer.restore(arrays, {**values, entry: value})


def test_arrays_that_are_none_of_a_state_are_refused() -> None:
    trainer = small_trainer(saver := Saver())
    trainer.fit(1)
    arrays, values = saver.states[0]
    for name, array, message in [
        ("lost/array", np.ones(2), "'lost/array' is no array of a trainer's state; their names begin with model, opt"),
        ("model/0.weight", np.ones(2), "0.weight has shape"),
        ("optimizer/0.weight/momentum", np.ones(2), "0.weight/momentum"),
        ("metrics/total", np.ones(2), "Metrics: expected single numbers"),
    ]:
        with pytest.raises(StateError, match=message):
            small_trainer().restore({**arrays, name: array}, values)
    del arrays["metrics/correct"]
    with pytest.raises(
        StateError, match="Metrics: expected single numbers total, loss_sum, correct, got total, loss_sum"
    ):
        small_trainer().restore(arrays, values)


def test_a_callback_s_own_error_names_the_callback() -> None:
    arrays, values = small_trainer().state()
    with pytest.raises(StateError, match=r"not one that the callback Counting takes \(KeyError: 'total'\)") as raised:
        small_trainer().restore(arrays, {**values, "callbacks": [{"sum": 1.0}]})
    assert isinstance(raised.value.__cause__, KeyError)


def test_long_values_are_cut_in_messages() -> None:
    arrays, values = small_trainer().state()
    for entry in ("step", "fits"):
        other = [[]] * 2000 if entry == "step" else {**values["fits"], "layers with a state": [[]] * 2000}
        with pytest.raises(StateError) as raised:
            small_trainer().restore(arrays, {**values, entry: other})
        assert len(str(raised.value)) < 400


def test_restoring_forgets_what_had_accumulated() -> None:
    trainer, other = (small_trainer(accumulate=2) for _ in range(2))
    state = trainer.state()
    trainer.train_step(*next(iter(trainer.train_loader)))  # half a step
    trainer.restore(*state)
    trainer.fit(1)
    other.fit(1)
    assert_same(trainer.state(), other.state())
