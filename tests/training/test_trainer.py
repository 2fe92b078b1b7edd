"""The loop, its callbacks and metrics."""

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, models, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.training import Callback, Metrics, ProgressBar, ProgressLines, Trainer, evaluate
from gpucnn.training.callback import HOOKS


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
        expected += [f"batch_end {epoch * batches + batch}" for batch in range(1, batches + 1)]
        expected.append(f"epoch_end {epoch} {epoch + 1}")
    assert recorder.calls == [*expected, "train_end"]


def test_history_is_what_the_losses_and_an_evaluation_say() -> None:
    recorder = Recorder()
    trainer = small_trainer(recorder)
    row = trainer.fit(1)[0]
    assert row["train_loss"] == pytest.approx(np.average(recorder.losses, weights=[16, 16, 16, 2]), rel=1e-6)
    scores = evaluate(trainer.model, trainer.test_loader)
    assert row["test_loss"] == pytest.approx(scores.loss, rel=1e-6)  # of batches in another order
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


def test_a_test_loss_that_is_not_finite_ends_training_too() -> None:
    trainer = small_trainer()
    trainer.test_loader.dataset.images[3] = np.nan
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1"):
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


def test_callbacks_are_checked() -> None:
    class Misspelt(Callback):
        def on_epoch_finish(self, trainer: Trainer) -> None:
            pass

    class Wrong(Callback):
        def on_epoch_end(self) -> None:  # type: ignore[override]
            pass

    with pytest.raises(
        ArgumentError, match=r"Misspelt.on_epoch_finish is no hook and would never run; did you mean on_ep"
    ):
        small_trainer(Misspelt())
    with pytest.raises(ArgumentError, match=r"Wrong.on_epoch_end must take \(self, trainer\)"):
        small_trainer(Wrong())
    with pytest.raises(ArgumentError, match=r"callbacks must be training.Callback objects, got function"):
        small_trainer(lambda trainer: None)  # type: ignore[arg-type]
    assert set(HOOKS) == {name for name in dir(Callback) if name.startswith("on_")}


def test_a_loss_that_is_not_finite_ends_training(recwarn: pytest.WarningsRecorder) -> None:
    trainer = small_trainer(schedule=lambda step: float("inf"))
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1; lower the learning rate"):
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
    assert "epoch 1/1: " in printed
    assert "0/4" in printed
    assert printed.rstrip().splitlines()[-1].split()[0] == "1/1"


def test_lenet5_learns_the_digits(digits: data.Splits) -> None:
    """Eight epochs; the command's own forty give 0.99, see README."""
    model = models.LeNet5()
    train = data.DataLoader(digits.train, 32, shuffle=True, augment=digits.augment)
    schedule = optim.one_cycle(0.003, 8 * len(train))
    test = data.DataLoader(digits.test, 120)
    trainer = Trainer(model, optim.Adam(model.parameters()), train, test, schedule, label_smoothing=0.1)
    assert trainer.fit(8)[-1]["test_accuracy"] > 0.96
