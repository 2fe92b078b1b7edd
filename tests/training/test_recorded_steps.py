"""What a recorded step sees, and what it refuses: steps replayed are those computed as they are, whatever happens between them."""

import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.errors import ArgumentError, CaptureError, OutOfMemoryError, TrainingError
from gpucnn.kernels import ways
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.training import Callback, CapturedStep, ProgressLines, Trainer, finite_guard
from tests.backends import fast_cupy
from tests.training.small_run import assert_same
from tests.training.test_captured_equals_eager import BATCHES, device, make_model, make_trainer, recordings

__all__ = ["device"]

BEFORE, STEPS = 4, 8
"""Of each four the third is recorded, and replayed, as is the fourth."""
MANY_KINDS = (
    "3 kinds of steps are recorded already, each with memory of its own; use batches of fewer shapes (drop_last=True leaves out "
    "the smaller last one), and change settings and modes less often"
)


def batch(number: int, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(number)
    return draw.standard_normal((size, 1, 4, 4)).astype(np.float32), draw.integers(0, 3, size)


class Loop:
    """A loop of one's own."""

    def __init__(self, device: str, graph: Any, p: float = 0.0, loss: Any = F.cross_entropy) -> None:
        self.model = make_model(p).to(device)
        self.optimizer: optim.Optimizer = optim.Adam(self.model.parameters(), 0.01)
        self.step = CapturedStep(self.model, self.optimizer, loss, graph)
        self.losses: list[float] = []

    def run(self, first: int, last: int, size: int = 4) -> None:
        for number in range(first, last):
            self.losses.append(self.step(*batch(number, size)).item())

    @property
    def recordings(self) -> int:
        return self.step.recorder.recordings

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        layers_of = {path: layer.forward_state() for path, layer in self.model.named_layers()}
        gradients = {
            f"gradient {path}": parameter.grad if isinstance(parameter.grad, np.ndarray) else parameter.grad.get()
            for path, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        return {**self.model.state_dict(), **self.optimizer.state_dict(), **gradients}, {
            "losses": self.losses, "layers": layers_of,
        }  # fmt: skip


def other_weights(loop: Loop) -> None:
    state = loop.model.state_dict()
    loop.model.load_state_dict({path: array * np.float32(0.5) for path, array in state.items()})


def own_array(loop: Loop) -> None:
    weight = loop.model[-1].weight
    weight.data = weight.data * 2


def own_statistics(loop: Loop) -> None:
    mean = loop.model[1].running_mean
    mean.data = mean.data + 1


def there_and_back(loop: Loop) -> None:
    where = str(loop.model[0].weight.device)
    loop.model.to("cpu").to(where)


def frozen_for_a_while(loop: Loop) -> None:
    """So that parameters have taken other numbers of steps than others, which an Adam looks at."""
    loop.model[0].requires_grad_(False)
    loop.run(100, 104)
    loop.model[0].requires_grad_()


def another_layer(loop: Loop) -> None:
    setattr(loop.model, "2", layers.Sigmoid())


def restored_optimizer(loop: Loop) -> None:
    loop.optimizer.load_state_dict(loop.optimizer.state_dict())


CHANGES: dict[str, Callable[[Loop], Any]] = {
    "rate": lambda loop: setattr(loop.optimizer, "lr", 0.5),
    "decay": lambda loop: setattr(loop.optimizer, "weight_decay", 0.5),
    "weights": other_weights,
    "an array of one's own": own_array,
    "statistics": own_statistics,
    "a device, and back": there_and_back,
    "frozen": lambda loop: loop.model[0].requires_grad_(False),
    "a frozen bias": lambda loop: setattr(loop.model[-1].bias, "requires_grad", False),
    "frozen for a while": frozen_for_a_while,
    "evaluation mode": lambda loop: loop.model.eval(),
    "momentum of statistics": lambda loop: setattr(loop.model[1], "momentum", 0.5),
    "another layer": another_layer,
    "the optimizer's state": restored_optimizer,
    "no gradients": lambda loop: loop.optimizer.zero_grad(),
    "other batches": lambda loop: loop.run(200, 204, size=3),
    "no numbers": lambda loop: None,
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_steps_is_seen(device: str, change: str) -> None:
    loops = [Loop(device, graph) for graph in (False, "auto")]
    for loop in loops:
        loop.run(0, BEFORE)
        assert bool(loop.recordings) == (loop is loops[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy may have to compute a part of the changed net
            CHANGES[change](loop)
            loop.run(BEFORE, STEPS)
    assert_same(loops[1].state(), loops[0].state())


def test_a_gpu_replays_masks_and_their_probability(device: str) -> None:
    if device == "cpu":
        pytest.skip("masks are drawn by NumPy there")
    loops = [Loop(device, graph, p=0.3) for graph in (False, True)]
    for loop in loops:
        loop.run(0, BEFORE)
        loop.model[4].p = 0.6
        loop.run(BEFORE, STEPS)
        loop.model[4].calls = 3
        loop.run(STEPS, STEPS + 2)
    assert loops[1].recordings == 2
    assert_same(loops[1].state(), loops[0].state())


def test_a_replay_is_two_launches_and_two_uploads() -> None:
    """The graph, and a copy of the loss; images, and what is fed, among it labels on the host."""
    with use_in_place_of_cupy(fast_cupy()):
        loop = Loop("cuda", True, p=0.3)
        loop.run(0, 4)
        inputs = batch(9)
        with fast_cupy().operation_log.recorded() as operations:
            loop.step(*inputs)
    kinds = [operation.kind for operation in operations]
    assert (kinds.count("launch"), kinds.count("upload"), kinds.count("download"), kinds.count("synchronize")) == (
        2,
        2,
        0,
        0,
    )


def test_a_trainer_s_replay_is_one_launch_and_one_upload() -> None:
    """With data on the device: guard, clipping, average and metrics included."""
    with use_in_place_of_cupy(fast_cupy()):
        trainer = make_trainer(
            device="cuda", graph=True, average=True, clip_norm=0.1, schedule=lambda: lambda step: 0.1 / (1 + step)
        )
        images, labels = (fast_cupy().asarray(array) for array in batch(0))
        counts: list[tuple[int, ...]] = []
        with trainer.guard.watching(True):
            for _ in range(6):
                with fast_cupy().operation_log.recorded() as operations:
                    trainer.train_batch(images, labels)
                kinds = [operation.kind for operation in operations]
                counts.append(tuple(kinds.count(kind) for kind in ("launch", "upload", "download", "synchronize")))
    launches, uploads, *waits = counts[-1]
    assert (launches, uploads, waits) == (3, 1, [0, 0]), "the graph, and a copy of images and labels each"
    assert counts[-2] == counts[-1]


@pytest.mark.sample(1)
def test_the_smaller_last_batch_and_mixed_ones_are_recorded_by_themselves(device: str) -> None:
    """Three kinds at most; a fourth is computed as it is, which is told once, or refused."""
    loops = [Loop(device, graph) for graph in (False, "auto")]
    for loop in loops:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for number in range(5):
                for size in (2, 3, 4, 5, 6):
                    loop.run(number, number + 1, size)
    assert loops[1].recordings == 3
    assert [str(one.message) for one in told] == [
        f"steps with a batch of ({size}, 1, 4, 4) and ({size},) are computed as they are: {MANY_KINDS}"
        for size in (5, 6)
    ]
    assert {one.filename for one in told} == {__file__}
    refusing = Loop(device, True)
    for size in (2, 3, 4):
        refusing.run(0, 4, size)
    with pytest.raises(
        CaptureError,
        match=r"^a step with a batch of \(5, 1, 4, 4\) and \(5,\) cannot be recorded: 3 .* graph=False \(--no-graph\)$",
    ):
        refusing.run(0, 3, 5)
    assert_same(loops[1].state(), loops[0].state())


class Counting(layers.ReLU):
    """Counts its passes, and goes by that."""

    count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return super().forward(x) if self.count % 2 else x


class Remembering(layers.Layer):
    """Keeps a list."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


class Reading(layers.Layer):
    """Looks at what was computed."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape) if x.numpy()[0, 0] > 0 else x


def hooked() -> layers.Layer:
    relu = layers.ReLU()
    relu.register_forward_hook(lambda layer, inputs, output: output * 2.0)
    return relu


def hooked_before() -> layers.Layer:
    relu = layers.ReLU()
    relu.register_forward_pre_hook(lambda layer, inputs: inputs[0] * 2.0)
    return relu


def hooked_on_the_way_back() -> layers.Layer:
    relu = layers.ReLU()
    relu.register_full_backward_hook(lambda layer, into, out: into[0] * np.float32(2))
    return relu


REFUSED: dict[str, tuple[Callable[[], layers.Layer], str]] = {
    "a counter": (
        Counting,
        r"^5 \(Counting\) counts in its forward pass \(count\), which a replay would not; .* backend.fed",
    ),
    "a list": (Remembering, r"^5 \(Remembering\): a forward pass changes self.seen, a list, .* a replay does not"),
    "a value": (
        Reading,
        r"^5 \(Reading\) reads a tensor's values, which a replay would not; read them after the step$",
    ),
    "a hook": (hooked, r"^5 \(ReLU\) has a forward hook, which a replay does not call; remove it$"),
    "a pre-hook": (hooked_before, r"^5 \(ReLU\) has a forward pre-hook, which a replay does not call; remove it$"),
    "a backward hook": (hooked_on_the_way_back, r"^5 \(ReLU\) has a backward hook, which a replay does not call; "),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings("ignore:.*a forward pass changes")
def test_what_a_replay_would_leave_out_is_refused_with_the_layer(device: str, what: str) -> None:
    make, message = REFUSED[what]
    loops = [Loop(device, graph) for graph in (False, True, "auto")]
    for loop in loops:
        loop.model.append(make())
    loops[1].run(0, 2)
    with pytest.raises(CaptureError, match=message):
        loops[1].run(2, 3)
    loops[0].run(0, 4)
    with pytest.warns(UserWarning, match=message.removeprefix("^")) as told:
        loops[2].run(0, 4)
    assert len(told) == 1
    assert str(told[0].message).startswith("steps are computed as they are, not recorded: ")
    assert_same(loops[2].state(), loops[0].state())


def test_a_hook_that_comes_and_goes(device: str) -> None:
    seen: list[bool] = []
    loops = [Loop(device, graph) for graph in (False, "auto")]
    for loop in loops:
        loop.run(0, 5)
        handle = loop.model[2].register_forward_hook(lambda *arguments: seen.append(True))
        loop.run(5, 7)
        handle.remove()
        loop.run(7, 9)
    assert len(seen) == 4
    assert loops[1].recordings == 1
    assert_same(loops[1].state(), loops[0].state())


def test_gradients_that_nobody_forgets_are_refused(device: str) -> None:
    model = make_model(0)
    step = CapturedStep(model.to(device), optim.SGD(model[-1].parameters(), 0.1), graph=True)
    step(*batch(0))
    step(*batch(1))
    with pytest.raises(
        CaptureError, match=r"^0.weight learns, but the optimizer does not know it, .* requires_grad_\(False\)$"
    ):
        step(*batch(2))


def test_an_optimizer_of_more_than_the_model_is_refused(device: str) -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3), layers.Linear(3, 3)).to(device)
    step = CapturedStep(layers.Sequential(*model[:2]), optim.SGD(model.parameters(), 0.1), graph=True)
    step(*batch(0))
    step(*batch(1))
    with pytest.raises(
        CaptureError, match=r"^the optimizer's 2.bias is not in the model; make what holds it an attribute"
    ):
        step(*batch(2))


@pytest.mark.parametrize("number", [2, 5])
def test_labels_out_of_range_are_told_in_the_usual_words(number: int) -> None:
    """On a CPU, also in a replay, after which all is as before."""
    with ways.use("jit"):
        loop, other = Loop("cpu", True), Loop("cpu", False)
        for one in (loop, other):
            one.run(0, number)
            before = copy.deepcopy(one.state())
            images, labels = batch(number)
            with pytest.raises(
                ArgumentError, match=r"^cross_entropy: labels must be from 0 to 2, got -?\d to 7; the model needs"
            ):
                one.step(images, np.where(labels == 0, 7, labels))
            if one is loop:
                for part in (0, 1):
                    unchanged = {
                        name: value
                        for name, value in before[part].items()
                        if "running" not in name and "gradient" not in name
                    }
                    assert all(np.array_equal(loop.state()[part][name], value) for name, value in unchanged.items())
            one.run(number, number + 3)


@pytest.mark.parametrize("step", [3, 7, 11])
def test_the_guard_finds_what_is_not_finite_at_that_step(
    device: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a replay, which a GPU has followed by others meanwhile. Weights, statistics and all that is counted are as before it."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    found = []
    for graph in (False, "auto"):
        trainer = make_trainer(
            device=device,
            graph=graph,
            average=True,
            test=False,
            schedule=lambda: lambda now: 1e30 if now == step - 2 else 0.05,
        )
        with pytest.raises(TrainingError, match=rf"^step {step} \(epoch {1 + (step - 1) // BATCHES}, batch ") as raised:
            trainer.fit(3)
        assert trainer.failed_step is not None
        found.append((trainer.snapshot(), str(raised.value)))
        assert bool(recordings(trainer)) == (graph == "auto" and step > 3), trainer.notes
    assert found[0][1] == found[1][1]
    assert_same(found[1][0], found[0][0])


def test_memory_that_does_not_suffice_for_a_recording(device: str) -> None:
    """It is computed as it is, with a note; or that is refused, with the layer."""

    def fails(step: Callable[[], Any], *arguments: Any) -> Any:
        with mock.patch.object(F, "cross_entropy", side_effect=MemoryError("no more")):
            return step()

    eager = make_trainer(device=device)
    eager.fit(2)
    place = "gpucnn.training.recorder." + ("CallList.record" if device == "cpu" else "Graph.record")
    with mock.patch(place, side_effect=fails):
        trainer = make_trainer(ProgressLines(), device=device, graph="auto")
        trainer.fit(2)
        refusing = make_trainer(device=device, graph=True)
        with pytest.raises(
            OutOfMemoryError,
            match=f"^{refusing.device} is out of memory in the model, when a step with a batch of 4 was",
        ):
            refusing.fit(2)
    (note,) = trainer.notes
    assert note.startswith(
        f"steps are computed as they are, not recorded: {trainer.device} is out of memory in the model, when"
    )
    assert_same(trainer.state(), eager.state())


TOLD_8 = (
    "steps are computed as they are, not recorded: cuda:0 is out of memory in the gradient of 1 (Linear), when a step with a "
    "batch of 8 was to be recorded, which takes memory of its own; use a smaller batch, or graph=False"
)
TOLD_7 = "steps with a batch of 7 are computed as they are: beside those that are recorded cuda:0 has too little memory for them"


@pytest.mark.sample(0)
@pytest.mark.parametrize(
    ("memory", "recorded", "told"),
    [
        (520_000, [0, 0, 0], TOLD_8),
        (640_000, [1, 0, 1], TOLD_7),
        (720_000, [1, 1, 1], TOLD_8.replace("of 8", "of 7")),
        (860_000, [1, 2, 2], ""),
    ],
)
def test_recordings_in_little_memory(memory: int, recorded: list[int], told: str) -> None:
    """Steps fit as they are; what fits beside is recorded, and made again when it had to make room."""
    losses, found = [], []
    with use_in_place_of_cupy(CupyStandIn(fast_cupy().emulator, memory_bytes=memory)):
        for graph in (False, "auto"):
            model = layers.Sequential(
                layers.Flatten(), layers.Linear(16, 2_000), layers.ReLU(), layers.Linear(2_000, 3)
            ).to("cuda")
            step = CapturedStep(model, optim.SGD(model.parameters(), 0.1), graph=graph)
            step.optimizer.gather()
            found.clear()
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                for size in (8, 7, 8):
                    losses += [step(*batch(number, size)).item() for number in range(4)]
                    found.append(step.recorder.recordings)
            del model, step
            gc.collect()
    assert found == recorded
    assert [str(one.message) for one in heard][:1] == ([told] if told else [])
    assert losses[:12] == losses[12:]


def test_progress_tells_why_steps_are_not_recorded(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(ProgressLines(), device=device, graph="auto")
    trainer.model[2].register_forward_hook(lambda *arguments: None)
    trainer.fit(2)
    lines = capsys.readouterr().out.splitlines()
    told = "steps are computed as they are, not recorded: 2 (ReLU) has a forward hook, which a replay does not call; remove it"
    assert sum("recorded" in line for line in lines) == 1
    assert [line.split()[0] for line in lines[:-2]] == ["epoch", "1/2", "2/2"], "the table is whole"
    assert [*lines[-2].split(), *lines[-1].split()] == told.split(), "on two lines, of the table's width"


def test_what_is_not_compiled_is_not_recorded() -> None:
    with ways.use("numpy"):
        trainer = make_trainer(device="cpu", graph="auto")
        trainer.fit(2)
        assert (trainer.notes, recordings(trainer)) == ([], 0)
        with pytest.raises(
            CaptureError,
            match="^graph=True, but on a CPU compiled loops alone are recorded, and .* computes with NumPy",
        ):
            make_trainer(device="cpu", graph=True).fit(1)


@pytest.mark.parametrize("variable", ["", "numpy"])
def test_the_fix_where_nothing_is_compiled_can_be_followed(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ways.VARIABLE, variable)
    monkeypatch.setattr(ways, "missing", lambda: 'llvmlite is not installed: pip install "gpucnn[fast]"')
    with ways.use("numpy"), pytest.raises(CaptureError) as raised:
        make_trainer(device="cpu", graph=True).fit(1)
    reason = (
        "GPUCNN_CPU=numpy); unset GPUCNN_CPU, "
        if variable
        else 'llvmlite is not installed: pip install "gpucnn[fast]"); '
    )
    assert str(raised.value).endswith(f'NumPy ({reason}leave graph at "auto", or give graph=False (--no-graph)')


def test_a_layer_is_named_once() -> None:
    with ways.use("jit"):
        loop = Loop("cpu", True)
        loop.model.append(layers.Sigmoid())
        loop.run(0, 2)
        with pytest.raises(
            CaptureError, match=r"^5 \(Sigmoid\): sigmoid is computed .* graph=False \(--no-graph\)$"
        ) as raised:
            loop.run(2, 3)
    assert getattr(raised.value, "__notes__", []) == []


@pytest.mark.parametrize("graph", ["yes", None, 1, "Auto"])
def test_only_three_values_are_taken(graph: Any) -> None:
    with pytest.raises(ArgumentError, match='^graph must be "auto", True or False, got '):
        make_trainer(device="cpu", graph=graph)
    model = make_model(0)
    with pytest.raises(ArgumentError, match='^graph must be "auto", True or False, got '):
        CapturedStep(model, optim.SGD(model.parameters(), 0.1), graph=graph)


def test_copies_record_for_themselves(device: str) -> None:
    eager, loop = Loop(device, False), Loop(device, "auto")
    for one in (eager, loop):
        one.run(0, 5)
    model = copy.deepcopy(loop.model)
    if device == "cpu":  # the stand-in's arrays cannot be pickled
        assert_same((pickle.loads(pickle.dumps(loop.model)).state_dict(), {}), (model.state_dict(), {}))
    both = copy.deepcopy(loop)
    for one in (eager, both):
        one.run(5, 10)
    assert both.recordings == 1
    assert_same(both.state(), eager.state())
    assert all(np.array_equal(array, model.state_dict()[path]) for path, array in loop.model.state_dict().items())


def test_an_interrupted_run_goes_on(device: str) -> None:
    class Interrupt(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.step == 6 and not states:
                states.append(trainer.snapshot())
                raise KeyboardInterrupt

    found = []
    for graph in (False, "auto"):
        states: list[Any] = []
        trainer = make_trainer(Interrupt(), device=device, graph=graph)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(3)
        trainer.fit(2)
        found.append((states[0], trainer.state()))
    for eager, captured in zip(*found, strict=True):
        assert_same(captured, eager)


def test_a_trainer_that_is_gone_holds_no_memory() -> None:
    stand_in = fast_cupy()
    with use_in_place_of_cupy(stand_in):
        gc.collect()
        before = sum(stand_in._memory.taken)
        trainer = make_trainer(device="cuda", graph=True)
        trainer.fit(2)
        assert recordings(trainer)
        del trainer
        gc.collect()
        stand_in.get_default_memory_pool().free_all_blocks()
        assert sum(stand_in._memory.taken) <= before


def test_recordings_whose_arrays_are_gone_are_dropped(device: str) -> None:
    """So that a model that moves, or is restored again and again, holds no more than it needs."""
    loop = Loop(device, "auto")
    for _ in range(4):
        loop.run(0, 4)
        assert loop.recordings == 1
        restored_optimizer(loop)
