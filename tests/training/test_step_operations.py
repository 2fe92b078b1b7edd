"""What a step of the Trainer asks a GPU for, by name, with the data set there: bookkeeping is a launch each, or none."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from gpucnn import data, models, optim, training
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler
from gpucnn.testing.operation_log import Operation
from gpucnn.training import finite_guard

pytestmark = pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")

MOST = 21
"""Launches and products of a step of LeNet-5."""

BOOKKEEPING = {"preprocess": 1, "cross_entropy": 1, "cross_entropy_gradient": 1, "all_finite": 1, "sgd": 1, "scores": 1}
"""What is neither a layer nor its gradient."""

LAYERS = {
    "conv2d_images_gradient", "conv2d_weight_gradient", "few_channels_weight_gradient", "add_slices",
    "conv2d_max_pool", "max_pool_scatter", "linear_forward", "linear_gradients",
}  # fmt: skip


def operations_of_a_step(
    monkeypatch: pytest.MonkeyPatch,
    preprocess: Any = None,
    batch: int = 2,
    size: int = 64,
    streams: bool = False,
    **options: Any,
) -> list[Operation]:
    """Those of a batch of an epoch, of which the second is computed as it is, and of fetching it; the rate changes in each step."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)  # so that the state is kept before the first batch alone
    with emulated_gpu("fast") as gpu:
        splits = data.load("digits", image_size=32)
        images = size * batch
        part = data.ArrayDataset(
            splits.train.images[:images], splits.train.labels[:images], preprocess or splits.preprocess
        )
        part = part.streamed("cuda") if streams else part.to("cuda")
        model = models.LeNet5().to("cuda")
        optimizer = optim.SGD(model.parameters(), 0.03, 0.9)
        marks: list[int] = []

        class Mark(training.Callback):
            def on_batch_end(self, trainer: training.Trainer) -> None:
                marks.append(len(gpu.operation_log))

        if options.pop("average", False):
            options["average"] = optim.WeightAverage(model)
        loader = data.DataLoader(
            part, size, shuffle=True, mix=options.pop("mix", None), augment=options.pop("augment", None)
        )
        trainer = training.Trainer(
            model, optimizer, loader, None, schedule=lambda step: 0.03 / (1 + step), callbacks=[Mark()], **options
        )
        trainer.fit(1)
        return list(gpu.operation_log[marks[batch - 2] : marks[batch - 1]])


def kinds(operations: list[Operation]) -> Counter[str]:
    return Counter(operation.kind for operation in operations)


def test_a_step_of_lenet(monkeypatch: pytest.MonkeyPatch, report: Callable[[str], None]) -> None:
    operations = operations_of_a_step(monkeypatch)
    counts, names = kinds(operations), Counter(one.name for one in operations if one.kind == "launch")
    report(f"a Trainer step of LeNet-5: {counts['launch']} launches, {counts['product']} products, 1 upload")
    assert {name: count for name, count in names.items() if name not in LAYERS} == BOOKKEEPING
    assert counts["launch"] + counts["product"] <= MOST
    assert (counts["upload"], counts["download"], counts["synchronize"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("options", "launches", "uploads"),
    [
        ({"clip_norm": 0.1}, {"squares": 1, "gradient_norm": 1, "scale_gradients": 1}, 0),
        ({"clip_value": 0.1}, {"clip": 1}, 0),
        ({"average": True}, {"average": 1}, 1),
        ({"preprocess": data.Preprocess(1, 8, 32, 16, "pad", (0.3,), (0.2,))}, {}, 0),
        ({"augment": data.Compose(data.RandomFlip(), data.RandomShift(2, "reflect"), data.Cutout(3))}, {}, 0),
    ],
    ids=["clip_norm", "clip_value", "average", "pad and normalise", "flip, shift and cutout"],
)
def test_what_options_add(
    options: dict[str, Any], launches: dict[str, int], uploads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, found = (operations_of_a_step(monkeypatch, size=8, **own) for own in ({}, options))
    names = [Counter(one.name for one in operations if one.kind == "launch") for operations in (plain, found)]
    assert names[1] - names[0] == launches
    assert kinds(found)["upload"] - kinds(plain)["upload"] == uploads
    assert kinds(found)["download"] == kinds(found)["synchronize"] == 0


GRAPH = ("launch", "graph")
ROUNDABOUT = {GRAPH: 1, ("launch", "preprocess"): 1, ("launch", "copy"): 2}
"""A graph, to whose inputs images and labels are copied."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {GRAPH: 1, ("upload", "set"): 1}),
        (
            {"augment": data.Compose(data.RandomFlip(), data.RandomShift(2, "reflect"))},
            {GRAPH: 1, ("upload", "set"): 1},
        ),
        ({"streams": True}, {**ROUNDABOUT, ("upload", "set"): 2}),
    ],
    ids=["plain", "flip and shift", "streamed"],
)
def test_what_a_replayed_step_asks_for(
    options: dict[str, Any], expected: dict[tuple[str, str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One launch and one upload, of all numbers that change: the graph gathers its own batch."""
    operations = operations_of_a_step(monkeypatch, batch=4, size=4, **options)
    assert Counter((one.kind, one.name) for one in operations if one.kind != "synchronize") == expected
