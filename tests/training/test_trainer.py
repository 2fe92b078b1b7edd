"""The loop, its callbacks and metrics."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, backend, data, layers, models, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.training import Callback, Metrics, ProgressBar, ProgressLines, Trainer, evaluate, training_step
from gpucnn.training.callback import HOOKS
from tests.backends import Backend


def small_loader(count: int = 50, batch_size: int = 16, seed: int = 0) -> data.DataLoader:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, count)
    images = draw.standard_normal((count, 1, 4, 4)).astype(np.float32)
    images[np.arange(count), 0, 0, labels] += 4
    return data.DataLoader(data.ArrayDataset(images, labels), batch_size, shuffle=True)


def small_trainer(*callbacks: Callback, schedule: optim.Schedule | None = None) -> Trainer:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9)
    return Trainer(model, optimizer, small_loader(), small_loader(30, seed=1), schedule, callbacks)


class Recorder(Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.losses: list[float] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        self.calls.append("train_begin")

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self.calls.append(f"epoch_begin {trainer.epoch}/{trainer.epochs}")

    def on_batch_end(self, trainer: Trainer) -> None:
        assert trainer.loss is not None
        self.calls.append(f"batch_end {trainer.step}")
        self.losses.append(trainer.loss.item())

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.calls.append(f"epoch_end {trainer.epoch} {len(trainer.history)}")

    def on_savepoint(self, trainer: Trainer) -> None:
        self.calls.append(f"savepoint {trainer.epoch} {trainer.batch} {trainer.step}")

    def on_train_end(self, trainer: Trainer) -> None:
        self.calls.append("train_end")


def test_hooks_come_in_their_order() -> None:
    recorder = Recorder()
    trainer = small_trainer(recorder)
    trainer.fit(2)
    batches = (50 - 1) // 16 + 1
    expected = ["train_begin"]
    for epoch in (0, 1):
        expected.append(f"epoch_begin {epoch}/2")
        for batch in range(1, batches + 1):
            step = epoch * batches + batch
            expected += [f"batch_end {step}", f"savepoint {epoch} {batch} {step}"]
        expected += [f"epoch_end {epoch} {epoch + 1}", f"savepoint {epoch + 1} 0 {(epoch + 1) * batches}"]
    assert recorder.calls == [*expected, "train_end"]


def test_history_is_what_the_losses_and_an_evaluation_say() -> None:
    recorder = Recorder()
    trainer = small_trainer(recorder)
    row = trainer.fit(1)[0]
    assert row["train_loss"] == pytest.approx(np.average(recorder.losses, weights=[16, 16, 16, 2]), rel=1e-6)
    scores = evaluate(trainer.model, trainer.test_loader)
    assert row["test_loss"] == scores.loss
    assert row["test_accuracy"] == scores.accuracy
    assert (row["epoch"], row["test_total"], row["test_correct"]) == (1, 30, scores.correct)
    assert trainer.fit(4)[-1]["test_accuracy"] > 0.9
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4, 5]


def test_the_end_hook_runs_after_an_error_too() -> None:
    class Failing(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            raise RuntimeError("in the middle")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="in the middle"):
        small_trainer(recorder, Failing()).fit(1)
    assert recorder.calls[-1] == "train_end"


def test_one_callback_s_failing_end_hook_leaves_the_others_theirs() -> None:
    class Failing(Callback):
        def on_train_begin(self, trainer: Trainer) -> None:
            raise RuntimeError("at the beginning")

        def on_train_end(self, trainer: Trainer) -> None:
            raise ValueError("at the end")

    recorder = Recorder()
    with pytest.raises(ValueError, match="at the end"):
        small_trainer(Failing(), recorder).fit(1)
    assert recorder.calls == ["train_end"]


def gradients_of_steps(batch_size: int, accumulate: int, **options: Any) -> list[np.ndarray]:
    """The first layer's gradient at every step of an epoch of 50 images."""
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    loader = small_loader(batch_size=batch_size)
    optimizer = optim.SGD(model.parameters(), 0.0)
    trainer = Trainer(model, optimizer, loader, None, accumulate=accumulate, **options)
    gradients: list[np.ndarray] = []

    class Watch(Callback):
        def on_savepoint(self, trainer: Trainer) -> None:
            if trainer.batch:
                gradients.append(model[1].weight.grad.copy())

    trainer.callbacks.append(Watch())
    trainer.fit(1)
    assert trainer.step == len(gradients)
    return gradients


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 3), (24, 1), (4, 6), (3, 8), (1, 24), (24, 5)])
def test_accumulated_gradients_are_those_of_large_batches(batch_size: int, accumulate: int) -> None:
    """Also of the last step, whose batches are fewer, and of the last batch, which is smaller."""
    order = small_loader(batch_size=50)
    images, labels = next(order.batches(0))
    large = batch_size * accumulate
    expected = []
    for start in range(0, 50, large):
        x, y = images[start : start + large].reshape(-1, 16).astype(float), labels[start : start + large]
        model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
        weight = model[1].weight.data.astype(float)
        scores = np.exp(x @ weight.T)
        slope = scores / scores.sum(axis=1, keepdims=True) - np.eye(3)[y]
        expected.append(slope.T @ x / len(x))
    found = gradients_of_steps(batch_size, accumulate)
    assert len(found) == len(expected)
    for gradient, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_go_where_the_optimizer_looks(backend: Backend) -> None:
    def trained(batch_size: int, accumulate: int) -> dict[str, np.ndarray]:
        model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3)).to(backend.device_name)
        loader = small_loader(48, batch_size)
        Trainer(model, optim.SGD(model.parameters(), 0.1, 0.9), loader, None, accumulate=accumulate).fit(2)
        return model.state_dict()

    for path, array in trained(16, 1).items():
        np.testing.assert_allclose(trained(4, 4)[path], array, rtol=1e-5, atol=1e-6)


def test_accumulation_passes_frozen_parameters_over() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 4), layers.Linear(4, 3))
    model[1].requires_grad_(False)
    before = model.state_dict()
    Trainer(model, optim.SGD(model.parameters(), 0.1), small_loader(), None, accumulate=2).fit(1)
    for path, array in model.state_dict().items():
        assert np.array_equal(array, before[path]) == path.startswith("1.")


@pytest.mark.parametrize("failing", [1, 2, 3, 7])
def test_a_batch_that_is_computed_anew_spoils_no_accumulated_gradient(failing: int) -> None:
    expected, cross_entropy, calls = gradients_of_steps(8, 3), F.cross_entropy, 0

    def sometimes(*arguments: Any, **options: Any) -> Tensor:
        nonlocal calls
        loss = cross_entropy(*arguments, **options)
        calls += 1
        if calls == failing:
            loss.backward()
            raise MemoryError
        return loss

    def retry(attempt: Any, images: np.ndarray, labels: np.ndarray, *_: object) -> Any:
        try:
            return attempt(images, labels)
        except MemoryError:
            return attempt(images, labels)

    with mock.patch.object(F, "cross_entropy", sometimes), mock.patch.object(training_step, "with_retry", retry):
        found = gradients_of_steps(8, 3, graph=False)  # a replay calls nothing
    assert calls == 8
    for gradient, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(gradient, reference)


def test_a_batch_that_is_computed_anew_moves_running_statistics_once(backend: Backend) -> None:
    def trained(failing: int) -> dict[str, np.ndarray]:
        norms = layers.BatchNorm2d(1), layers.BatchNorm2d(1, momentum=None)
        model = layers.Sequential(*norms, layers.Flatten(), layers.Linear(16, 3)).to(backend.device_name)
        cross_entropy, calls = F.cross_entropy, 0

        def sometimes(*arguments: Any, **options: Any) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise MemoryError
            return cross_entropy(*arguments, **options)

        def retry(attempt: Any, images: np.ndarray, labels: np.ndarray, *_: object) -> Any:
            try:
                return attempt(images, labels)
            except MemoryError:
                return attempt(images, labels)

        trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), small_loader(48, 16), None)
        with mock.patch.object(F, "cross_entropy", sometimes), mock.patch.object(training_step, "with_retry", retry):
            trainer.fit(1)
        assert calls == 3 + bool(failing)
        return model.state_dict()

    expected = trained(0)
    assert expected["1.num_batches_tracked"] == 3
    for failing in (1, 2):
        for path, array in trained(failing).items():
            np.testing.assert_array_equal(array, expected[path])


def test_the_schedule_counts_optimizer_steps() -> None:
    rates: list[float] = []

    class Watch(Callback):
        def on_savepoint(self, trainer: Trainer) -> None:
            rates.append(trainer.optimizer.lr)

    trainer = small_trainer(Watch(), schedule=lambda step: 0.1 / (step + 1))
    trainer.accumulate = 3
    trainer.fit(2)
    assert rates == [0.1, 0.05, 0.05, 0.1 / 3, 0.025, 0.025]


def test_gradients_are_clipped_as_a_whole_and_one_by_one() -> None:
    plain = gradients_of_steps(16, 1)
    norms = [float(np.linalg.norm(gradient)) for gradient in gradients_of_steps(16, 1, clip_norm=0.01)]
    assert all(0.005 < norm <= 0.01 for norm in norms)
    for clipped, gradient in zip(gradients_of_steps(16, 1, clip_value=0.02), plain, strict=True):
        np.testing.assert_array_equal(clipped, gradient.clip(-0.02, 0.02))
    for clipped, gradient in zip(gradients_of_steps(4, 4, clip_value=0.02), gradients_of_steps(4, 4), strict=True):
        np.testing.assert_array_equal(clipped, gradient.clip(-0.02, 0.02))


def test_without_a_test_loader_rows_are_of_the_training_alone(capsys: pytest.CaptureFixture[str]) -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), 0.1)
    row = Trainer(model, optimizer, small_loader(), None, callbacks=[ProgressLines()]).fit(1)[0]
    assert list(row) == ["epoch", "train_loss", "train_accuracy", "lr"]
    assert "test" not in capsys.readouterr().out


def test_rows_of_a_validation_loader_are_named_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), 0.1)
    val = small_loader(6, seed=1)
    trainer = Trainer(model, optimizer, small_loader(), None, callbacks=[ProgressLines()], val_loader=val)
    row = trainer.fit(1)[0]
    found = evaluate(model, val)
    names = ["val_loss", "val_accuracy", "val_correct", "val_total"]
    assert list(row) == ["epoch", "train_loss", "train_accuracy", *names, "lr"]
    assert [row[name] for name in names] == [found.loss, found.accuracy, found.correct, found.total]
    assert "val loss" in capsys.readouterr().out
    with pytest.raises(ArgumentError) as raised:
        Trainer(model, optimizer, small_loader(), val, val_loader=val)
    assert str(raised.value) == (
        "Trainer: test_loader and val_loader are both given, and every epoch is measured on one of them; give val_loader "
        "alone, and the test images to training.evaluate after training"
    )


def test_a_plateau_is_told_the_measured_loss_else_the_training_loss() -> None:
    for key in ("test_loss", "val_loss", "train_loss"):
        told: list[float] = []

        class Told(optim.ReduceOnPlateau):
            def observe(self, loss: float, told: list[float] = told) -> None:
                told.append(loss)

        trainer = small_trainer(schedule=Told(0.1))
        if key != "test_loss":
            trainer.val_loader = trainer.test_loader if key == "val_loss" else None
            trainer.test_loader = None
        assert [row[key] for row in trainer.fit(2)] == told


def test_evaluations_are_of_the_averaged_weights() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
    average, optimizer = optim.WeightAverage(model, 0.9), optim.SGD(model.parameters(), 0.1)
    trainer = Trainer(model, optimizer, small_loader(), small_loader(30, seed=1), average=average)
    row = trainer.fit(1)[0]
    assert average.updates == trainer.step == 4
    assert trainer.test_loader is not None
    assert row["test_loss"] != evaluate(model, trainer.test_loader).loss
    model.load_state_dict({path: array for path, array in average.state_dict().items() if "/" not in path})
    assert row["test_loss"] == evaluate(model, trainer.test_loader).loss


@pytest.mark.parametrize("precision", [None, "float32", "tf32", "bf16"])
def test_precision_holds_in_steps_and_evaluations(precision: str | None) -> None:
    seen: list[tuple[bool, str]] = []

    class Watched(layers.Linear):
        def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
            seen.append((self.training, backend.chosen_precision()))
            return super().forward(x, activation)

    model = layers.Sequential(layers.Flatten(), Watched(16, 3))
    chosen: dict[str, Any] = {"precision": precision, "graph": False}  # a replay would not be watched
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), small_loader(), small_loader(), **chosen)
    for around in ("float32", "tf32"):
        with backend.precision(around):
            trainer.fit(1)
            trainer.train_step(*next(small_loader().batches(0)))
            assert backend.chosen_precision() == around
        assert set(seen) == {(True, precision or around), (False, precision or around)}
        assert seen[-1][0], "the step alone"
        seen.clear()


def test_labels_may_be_probabilities() -> None:
    class Softly(data.DataLoader):
        def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for images, labels in super().batches(epoch, first):
                yield images, (0.85 * np.eye(3)[labels] + 0.05).astype(np.float32)

    rows = []
    for kind in (Softly, data.DataLoader):
        model = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))
        loader = kind(small_loader().dataset, 16, shuffle=True)
        optimizer = optim.SGD(model.parameters(), 0.1)
        rows.append(Trainer(model, optimizer, loader, None, label_smoothing=0.0 if kind is Softly else 0.15).fit(2)[-1])
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)
    assert rows[0]["train_accuracy"] == rows[1]["train_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be an int >= 1, got 0"),
        ({"precision": "fp16"}, 'precision must be "float32", "tf32" or "bf16", got \'fp16\''),
        ({"clip_norm": -1.0}, "clip_norm must be a number >= 0, got -1.0"),
        ({"clip_value": "much"}, "clip_value must be a number >= 0, got 'much'"),
        ({"clip_norm": 1.0, "clip_value": 2.0}, r"clip_norm=1.0 and clip_value=2.0 are both set; choose one"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str) -> None:
    model = layers.Linear(2, 2)
    with pytest.raises(ArgumentError, match=message):
        Trainer(model, optim.SGD(model.parameters()), small_loader(), None, **options)


def test_training_is_in_training_mode_also_after_an_evaluation() -> None:
    seen = []

    class Watch(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            seen.append(trainer.model.training)

    trainer = small_trainer(Watch())
    trainer.model.eval()
    trainer.fit(2)
    assert seen == [True] * 8


def test_the_schedule_sets_every_step_s_rate() -> None:
    seen = []

    class Watch(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            seen.append(trainer.optimizer.lr)

    small_trainer(Watch(), schedule=lambda step: 0.1 / (step + 1)).fit(2)
    assert seen == [0.1 / (step + 1) for step in range(8)]


def test_one_step_is_forward_backward_update(rng: np.random.Generator) -> None:
    trainer = small_trainer()
    images, labels = rng.standard_normal((5, 1, 4, 4)).astype(np.float32), rng.integers(0, 3, 5)
    weight = trainer.model[1].weight  # type: ignore[index]
    before = weight.data.copy()
    logits = trainer.train_step(images, labels)
    np.testing.assert_allclose(logits.numpy(), images.reshape(5, 16) @ before.T, rtol=1e-5, atol=1e-6)
    probabilities = F.softmax(logits).numpy()
    slope = (probabilities - np.eye(3)[labels]).T @ images.reshape(5, 16) / 5
    np.testing.assert_allclose(weight.data, before - 0.1 * slope, rtol=1e-4, atol=1e-6)
    assert trainer.step == 1


def test_training_twice_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        trainer = small_trainer()
        trainer.fit(2)
        states.append(trainer.model.state_dict())
    for path, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][path])


def test_every_epoch_has_its_own_batches_in_their_order() -> None:
    seen: list[bytes] = []

    class Watched(layers.Linear):
        def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
            if self.training:
                seen.append(x.numpy().tobytes())
            return super().forward(x, activation)

    model = layers.Sequential(layers.Flatten(), Watched(16, 3))
    made = small_loader()
    Trainer(model, optim.SGD(model.parameters(), 0.1), made, None).fit(3)
    expected = [images.reshape(len(images), -1).tobytes() for epoch in range(3) for images, _ in made.batches(epoch)]
    assert seen == expected
    assert len(set(expected)) == len(expected)


def test_evaluation_is_without_dropout_and_gradients_and_puts_the_mode_back() -> None:
    class Watched(layers.Layer):
        def __init__(self) -> None:
            self.dropout = layers.Dropout(0.9)
            self.head = layers.Linear(16, 3)

        def forward(self, x: np.ndarray) -> Tensor:
            output = self.head(self.dropout(F.flatten(x)))
            assert not self.training
            assert not output.requires_grad
            return output

    model = Watched()
    assert evaluate(model, small_loader()).total == 50
    assert model.training
    assert model.dropout.calls == 0
    model.eval()
    evaluate(model, small_loader())
    assert not model.training


def test_evaluation_puts_every_layer_s_mode_back() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Dropout(0.5), layers.Linear(16, 3))
    model[1].eval()
    evaluate(model, small_loader())
    assert [layer.training for layer in model] == [True, False, True]


def test_a_validation_loss_that_is_not_finite_is_named_so() -> None:
    trainer = small_trainer()
    trainer.val_loader, trainer.test_loader = trainer.test_loader, None
    trainer.val_loader.dataset.images[3] = np.nan
    with pytest.raises(
        TrainingError, match="the validation loss became nan in epoch 1, in which all steps were finite"
    ):
        trainer.fit(1)


def test_a_test_loss_that_is_not_finite_ends_training_too() -> None:
    trainer = small_trainer()
    trainer.test_loader.dataset.images[3] = np.nan
    with pytest.raises(
        TrainingError, match="the test loss became nan in epoch 1, in which all steps were finite; lower"
    ):
        trainer.fit(1)


def test_metrics_weigh_batches_by_their_size() -> None:
    metrics = Metrics()
    metrics.update(Tensor(1.0), Tensor([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1]))
    metrics.update(Tensor(4.0), Tensor([[0.0, 1.0]]), np.array([1]))
    scores = metrics.scores()
    assert scores.loss == 2.0
    assert (scores.correct, scores.total) == (2, 3)
    assert scores.accuracy == pytest.approx(2 / 3)
    assert np.isnan(Metrics().scores().accuracy)


def test_metrics_of_maps_count_positions() -> None:
    logits = Tensor(np.array([[[[2.0, 0.0]], [[1.0, 1.0]]], [[[0.0, 0.0]], [[5.0, 5.0]]]]))
    metrics = Metrics()
    metrics.update(Tensor(np.array(0.5)), logits, np.array([[[0, 1]], [[1, 0]]]))
    assert metrics.scores() == (0.5, 3, 4)
    assert metrics.scores().accuracy == 0.75


def test_callbacks_are_checked() -> None:
    class Misspelt(Callback):
        def on_epoch_finish(self, trainer: Trainer) -> None:
            pass

    class Wrong(Callback):
        def on_epoch_end(self) -> None:  # type: ignore[override]
            pass

    with pytest.raises(
        ArgumentError, match=r"Misspelt.on_epoch_finish is an unknown hook and would never run; did you mean on_ep"
    ):
        small_trainer(Misspelt())
    with pytest.raises(ArgumentError, match=r"Wrong.on_epoch_end must take \(self, trainer\)"):
        small_trainer(Wrong())
    with pytest.raises(ArgumentError, match=r"callbacks must be training.Callback objects, got function"):
        small_trainer(lambda trainer: None)  # type: ignore[arg-type]
    assert set(HOOKS) == {name for name in dir(Callback) if name.startswith("on_")}


def test_a_loss_that_is_not_finite_ends_training(recwarn: pytest.WarningsRecorder) -> None:
    trainer = small_trainer(schedule=lambda step: float("inf"))
    message = (
        r"step 2 \(epoch 1, batch 2\): the loss became nan; first not finite is the output of 1 \(Linear\): .* 100% inf"
    )
    with pytest.raises(TrainingError, match=message):
        trainer.fit(2)
    assert trainer.history == []
    assert not recwarn.list


@pytest.mark.parametrize("epochs", [0, -1, 1.5])
def test_epochs_are_counted(epochs: float) -> None:
    with pytest.raises(ArgumentError, match="epochs must be an int >= 1"):
        small_trainer().fit(epochs)  # type: ignore[arg-type]


def test_lines_and_bar(capsys: pytest.CaptureFixture[str]) -> None:
    small_trainer(ProgressLines()).fit(2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1/2", "2/2"]
    small_trainer(ProgressBar()).fit(1)
    printed = capsys.readouterr().out
    assert "epoch 1/1    0% |" in printed
    assert printed.rstrip().splitlines()[-1].split()[0] == "1/1"


def test_lenet5_learns_the_digits(digits: data.Splits) -> None:
    """Eight epochs; the command's own forty give 0.99, see README."""
    model = models.LeNet5()
    train = data.DataLoader(digits.train, 32, shuffle=True, augment=data.RandomShift(2))
    schedule = optim.one_cycle(0.003, 8 * len(train))
    test = data.DataLoader(digits.test, 120)
    trainer = Trainer(model, optim.Adam(model.parameters()), train, test, schedule, label_smoothing=0.1)
    assert trainer.fit(8)[-1]["test_accuracy"] > 0.96
