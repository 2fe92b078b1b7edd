"""When a step that is not finite is noticed, and what that costs a GPU."""

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.errors import TrainingError
from gpucnn.testing.emulator import compiler
from gpucnn.training import Callback, Trainer, finite_guard
from tests.backends import Backend, emulated_cupy
from tests.training.small_run import BATCHES, small_trainer


def poison(trainer: Trainer, step: int) -> None:
    """An image of NaN in the fourth layer's output of a step, counted from 1."""

    def hook(layer: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        spoiled = np.zeros(output.shape, np.float32)
        spoiled[0] = np.nan
        return output + Tensor(spoiled).to(output.device) if trainer.step + 1 == step and layer.training else None

    trainer.model[3].register_forward_hook(hook)


@pytest.mark.sample(2)
@pytest.mark.parametrize("step", [1, 2, 4, 5, 7, 8])
def test_the_step_is_found_wherever_it_is(backend: Backend, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """First and last of an epoch, with an average and a schedule; the trainer is right before it, to the bit."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    schedule = optim.one_cycle(0.1, 2 * BATCHES)
    whole = small_trainer(schedule=schedule, average=True, device=backend.device_name)
    stopped = small_trainer(schedule=schedule, average=True, device=backend.device_name)
    poison(stopped, step)

    class Stop(Callback):
        def on_savepoint(self, trainer: Trainer) -> None:
            if (trainer.epoch, trainer.batch) == divmod(step - 1, BATCHES):
                raise KeyboardInterrupt

    whole.callbacks.insert(0, Stop())
    if step > 1:
        with pytest.raises(KeyboardInterrupt):
            whole.fit(2)
    epoch, batch = divmod(step - 1, BATCHES)
    with pytest.raises(
        TrainingError, match=rf"^step {step} \(epoch {epoch + 1}, batch {batch + 1}\): .* output of 3 \(Fl"
    ):
        stopped.fit(2)
    assert stopped.failed_step is not None
    np.testing.assert_array_equal(stopped.failed_step.indices, stopped.train_loader.indices(epoch, batch))
    expected, found = whole.state()[0], stopped.state()[0]
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


def test_no_state_is_kept_that_is_spoilt(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one is kept after each step, the flag is read before."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e9)
    trainer = small_trainer(device=backend.device_name)
    poison(trainer, 3)
    with pytest.raises(TrainingError, match=r"^step 3 \(epoch 1, batch 3\): .* output of 3 \(Fl"):
        trainer.fit(1)


def test_a_loss_alone(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients are finite, and so are all steps behind it."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    trainer = small_trainer(device=backend.device_name)

    def hook(layer: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        far = Tensor(np.array([3e38, -3e38, 0], np.float32)).to(output.device)
        return output * 0.0 + far if trainer.step + 1 == 2 and layer.training else None

    trainer.model[5].register_forward_hook(hook)
    with pytest.raises(
        TrainingError, match=r"^step 2 .*: the loss became inf; first not finite is the loss itself: "
    ) as raised:
        trainer.fit(1)
    assert "likely fix: the numbers have grown too large: lower the learning rate" in str(raised.value)
    assert trainer.failed_step is not None
    assert all(gradient.finite for gradient in trainer.failed_step.checked.gradients.values())


def test_a_gradient_alone(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of 0 is finite, its slope is not."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    trainer = small_trainer(device=backend.device_name)

    def hook(layer: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return (output * 0.0) ** 0.5 if trainer.step + 1 == 3 and layer.training else None

    trainer.model[0].register_forward_hook(hook)
    with pytest.raises(
        TrainingError,
        match=r"^step 3 .*: the loss became \d\S+; first not finite is the gradient of 0.bias: the gradient ",
    ):
        trainer.fit(1)


@pytest.mark.parametrize("step", [1, 2])
def test_the_batches_of_one_step_are_looked_at_one_by_one(backend: Backend, step: int) -> None:
    trainer = small_trainer(accumulate=3, device=backend.device_name)
    poison(trainer, step)
    with pytest.raises(TrainingError, match=rf"^step {step} \(epoch 1, batch {1 if step == 1 else 4}\): "):
        trainer.fit(1)
    assert trainer.step == step - 1


def test_a_step_of_one_s_own_is_looked_at_at_once(backend: Backend) -> None:
    trainer = small_trainer(device=backend.device_name)
    poison(trainer, 2)
    images, labels = next(trainer.train_loader.batches(0))
    trainer.train_step(images, labels)
    before = trainer.model.state_dict()
    with pytest.raises(TrainingError, match=r"samples affected first: 0"):
        trainer.train_step(images, labels)
    assert all(np.array_equal(array, before[name]) for name, array in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.model[4].calls == 1


def test_what_is_not_finite_once_alone_is_told(backend: Backend) -> None:
    """E.g. memory that errs."""
    trainer = small_trainer(device=backend.device_name)
    calls: list[bool] = []

    def hook(layer: layers.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        calls.append(True)
        return output / 0.0 if len(calls) == 2 else None

    trainer.model[5].register_forward_hook(hook)
    with pytest.raises(TrainingError, match="when the step is computed again|is when they are repeated"):
        trainer.fit(1)


def test_the_next_fit_begins_anew() -> None:
    trainer = small_trainer()
    poison(trainer, 2)
    with pytest.raises(TrainingError):
        trainer.fit(1)
    trainer.model[3]._hooks = None
    trainer.fit(1)
    assert (trainer.error, trainer.failed_step, trainer.step) == (None, None, BATCHES)


@pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")
def test_a_gpu_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a window of steps: not once. What callbacks read they wait for themselves."""
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    with use_in_place_of_cupy(emulated_cupy()):
        trainer = small_trainer(device="cuda")
        trainer.callbacks.clear()
        waits: list[str] = []
        log = emulated_cupy().operation_log.recorded()

        class Begin(Callback):
            def on_batch_end(self, trainer: Trainer) -> None:
                if trainer.batch == 1:
                    self.operations = log.__enter__()
                if trainer.batch == BATCHES:
                    log.__exit__(None, None, None)
                    waits.extend(one.kind for one in self.operations if one.kind in ("download", "synchronize"))
                    assert any(one.kind == "launch" for one in self.operations)

        trainer.callbacks.append(Begin())
        trainer.fit(1)
        assert waits == []


@pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")
def test_what_was_found_before_an_interruption_is_told_and_forgotten_by_restore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    with use_in_place_of_cupy(emulated_cupy()):
        trainer, whole = small_trainer(device="cuda"), small_trainer(device="cuda")
        poison(trainer, 2)

        class Stop(Callback):
            def on_batch_end(self, trainer: Trainer) -> None:
                if trainer.step == 3:
                    raise KeyboardInterrupt

        good = trainer.state()
        trainer.callbacks.insert(0, Stop())
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(1)
        for _ in range(2):
            with pytest.raises(
                TrainingError, match="before training was interrupted, and no state from before it is kept; re"
            ):
                trainer.state()
        trainer.callbacks.pop(0)
        trainer.model[3]._hooks = None
        trainer.restore(*good)
        trainer.fit(1)
        whole.fit(1)
        expected, found = whole.state()[0], trainer.state()[0]
        for name in expected:
            assert found[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")
def test_a_fit_behind_an_interruption_finds_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)
    with use_in_place_of_cupy(emulated_cupy()):
        trainer = small_trainer(device="cuda")
        poison(trainer, 2)

        class Stop(Callback):
            def on_batch_end(self, trainer: Trainer) -> None:
                if trainer.step == 3:
                    raise KeyboardInterrupt

        trainer.callbacks.insert(0, Stop())
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(1)
        trainer.callbacks.pop(0)
        with pytest.raises(TrainingError, match="the layer's weights were not finite before this step"):
            trainer.fit(1)
