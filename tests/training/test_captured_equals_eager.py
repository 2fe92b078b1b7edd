"""A trainer whose steps are recorded and replayed has, at every savepoint, the very bytes of one that computes each step as it is."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpucnn import data, layers, optim
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.training import Callback, Trainer
from tests.backends import Backend, fast_cupy
from tests.training.small_run import MakeOptimizer, assert_same, sgd, small_set
from tests.training.test_trainer_state import OPTIMIZERS, Saver

EPOCHS, BATCHES = 3, 4
"""Of three batches of four images, and one of two: nine alike, of which seven are replayed."""

SCHEDULES: dict[str, Callable[[], optim.Schedule | None]] = {
    "constant": lambda: None,
    "one cycle": lambda: optim.one_cycle(0.05, EPOCHS * BATCHES),
    "steps": lambda: optim.step_decay(0.05, 5),
    "plateau": lambda: optim.ReduceOnPlateau(0.05, patience=0, threshold=0.9),
}
FEATURES: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "dropout": {"p": 0.3},
    "clip norm": {"clip_norm": 0.05},
    "clip value": {"clip_value": 0.01},
    "accumulate": {"accumulate": 2},
    "label smoothing": {"label_smoothing": 0.1},
    "mixup": {"mix": True},
    "average": {"average": True},
    "lookahead": {"lookahead": 3},
    "no validation": {"test": False},
    "bf16": {"precision": "bf16"},
    "tf32": {"precision": "tf32"},
}
ALL = {
    **FEATURES["dropout"],
    **FEATURES["clip norm"],
    **FEATURES["label smoothing"],
    **FEATURES["mixup"],
    **FEATURES["average"],
}
NOT_COMPILED = ("dropout", "mixup", "all")
"""What NumPy computes on a CPU, so that such steps are not recorded there."""

PAIRS = [
    ("sgd", "one cycle", "batch norm"),
    ("adamw", "one cycle", "clip norm"),
    ("rmsprop", "constant", "accumulate"),
    ("adagrad", "steps", "label smoothing"),
    ("lion", "one cycle", "average"),
    ("sgd without momentum", "steps", "no validation"),
    ("sgd", "plateau", "clip value"),
    ("adam", "one cycle", "all"),
    ("sgd", "constant", "lookahead"),
    ("sgd", "one cycle", "bf16"),
    ("adam", "steps", "tf32"),
]
"""Each optimizer, schedule and feature once at least, dropout and mixup among all; `nox -s fuzz` tries all with all others."""


def make_model(p: float) -> layers.Sequential:
    drop = [layers.Dropout(p)] if p else []
    return layers.Sequential(
        layers.Conv2d(1, 2, 3, padding=1), layers.BatchNorm2d(2), layers.ReLU(), layers.Flatten(), *drop, layers.Linear(32, 3),
        seed=4,
    )  # fmt: skip


def make_trainer(
    *callbacks: Callback,
    device: str,
    optimizer: MakeOptimizer = sgd,
    schedule: Callable[[], optim.Schedule | None] = lambda: None,
    graph: Any = False,
    p: float = 0.0,
    mix: bool = False,
    average: bool = False,
    lookahead: int | None = None,
    test: bool = True,
    **options: Any,
) -> Trainer:
    model = make_model(p).to(device)
    loader = data.DataLoader(small_set(), 4, shuffle=True, seed=3, mix=data.Mixup(0.4) if mix else None)
    return Trainer(
        model,
        optimizer(list(model.parameters())),
        loader,
        data.DataLoader(small_set(4, seed=1), 4) if test else None,
        schedule(),
        callbacks,
        average=optim.WeightAverage(model, 0.9) if average else None,
        lookahead=None if lookahead is None else optim.Lookahead(model, 11, lookahead),
        graph=graph,
        **options,
    )


class Losses(Callback):
    """What a callback sees after each batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, int, float]] = []

    def on_batch_end(self, trainer: Trainer) -> None:
        assert trainer.loss is not None
        self.seen.append((trainer.loss.item(), trainer.step, trainer.metrics.total, trainer.optimizer.lr))


def recordings(trainer: Trainer) -> int:
    return trainer.training_step.recorder.recordings


def check_same(device: str, recorded: bool, epochs: int = EPOCHS, **options: Any) -> None:
    """States at all savepoints, the history, and what callbacks see."""
    savers, losses = [Saver(), Saver()], [Losses(), Losses()]
    trainers = [
        make_trainer(saver, seen, device=device, graph=graph, **options)
        for saver, seen, graph in zip(savers, losses, (False, "auto"), strict=True)
    ]
    histories = [trainer.fit(epochs) for trainer in trainers]
    assert histories[0] == histories[1]
    assert losses[0].seen == losses[1].seen
    for eager, captured in zip(savers[0].states, savers[1].states, strict=True):
        assert_same(captured, eager)
    assert bool(recordings(trainers[1])) == recorded, trainers[1].notes


@pytest.fixture(params=["jit", "emulated"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where steps are recorded. That kernels race nowhere is looked for in other tests."""
    backend = Backend(request.param)
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active() if backend.on_cpu else use_in_place_of_cupy(fast_cupy()):
        yield backend.device_name


def with_feature(name: str, device: str) -> dict[str, Any]:
    return ALL if name == "all" else FEATURES[name]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("optimizer", "schedule", "feature"), PAIRS)
def test_every_savepoint_has_the_same_bytes(device: str, optimizer: str, schedule: str, feature: str) -> None:
    check_same(
        device,
        recorded=not (device == "cpu" and feature in NOT_COMPILED),
        epochs=4 if feature == "accumulate" else EPOCHS,  # each part of a step comes once or twice an epoch
        optimizer=OPTIMIZERS[optimizer],
        schedule=SCHEDULES[schedule],
        **with_feature(feature, device),
    )


def test_all_pairs(device: str, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--fuzz-inputs"):
        pytest.skip("give --fuzz-inputs N, or run nox -s fuzz")
    for optimizer, schedule, feature in itertools.product(OPTIMIZERS, SCHEDULES, (*FEATURES, "all")):
        test_every_savepoint_has_the_same_bytes(device, optimizer, schedule, feature)


@pytest.mark.sample(2)
@pytest.mark.parametrize(("position", "precision"), [(1, None), (6, "bf16"), (6, None), (1, "bf16")])
def test_a_resumed_run_ends_with_the_same_bytes(device: str, position: int, precision: str | None) -> None:
    """It counts anew, and records in the middle."""
    options: dict[str, Any] = {
        "optimizer": OPTIMIZERS["adam"],
        "schedule": SCHEDULES["one cycle"],
        "average": True,
        "precision": precision,
    }
    eager = make_trainer(saver := Saver(), device=device, **options)
    eager.fit(EPOCHS)
    captured = make_trainer(device=device, graph="auto", **options)
    captured.fit(2)  # what it has recorded is of no use any more
    captured.restore(*saver.states[position])
    captured.fit(EPOCHS - captured.epoch)
    assert recordings(captured)
    assert_same(captured.state(), eager.state())
