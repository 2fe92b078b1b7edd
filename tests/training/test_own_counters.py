"""Trainers of models with layers of one's own: resumed, retried and saved as those with dropout are."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import data, layers, models, optim
from gpucnn.diagnosis.checked_step import run_checked
from gpucnn.errors import RunError, StateError, TrainingError
from gpucnn.files.checkpoint_file import _checksum
from gpucnn.files.tensor_file import read_tensors, write_tensors
from gpucnn.training import (
    Callback,
    RunConfig,
    RunFolder,
    Trainer,
    load_checkpoint,
    prepare,
    replay,
    resume,
    save_checkpoint,
)
from tests.backends import NAMES, Backend
from tests.layers.own_layers import OWN, DeclaredNoise, Noise
from tests.layers.test_forward_state import Hidden, MakeLayer
from tests.runs.tiny_run import TINY, Tiny, contents, go_on, tiny_names, train
from tests.training.small_run import State, assert_same, small_set, small_trainer

EPOCHS = 2


class Saver(Callback):
    def __init__(self) -> None:
        self.states: list[State] = []

    def on_savepoint(self, trainer: Trainer) -> None:
        arrays, values = trainer.state()
        self.states.append((arrays, json.loads(json.dumps(values))))


def own_trainer(own: MakeLayer, *callbacks: Callback, device: str = "cpu") -> Trainer:
    model = layers.Sequential(
        layers.Conv2d(1, 2, 3), own(), layers.Flatten(), layers.Checkpoint(own()), layers.Linear(8, 3)
    ).to(device)
    loader = data.DataLoader(small_set(), 4, shuffle=True, seed=3)
    test = data.DataLoader(small_set(4, seed=1), 4)
    average = optim.WeightAverage(model, 0.9)
    return Trainer(model, optim.SGD(model.parameters(), 0.1, 0.9), loader, test, None, callbacks, average=average)


@pytest.mark.sample(5)
@pytest.mark.parametrize("own", OWN)
def test_going_on_from_every_step_gives_the_same_bits(own: MakeLayer, backend: Backend) -> None:
    whole = own_trainer(own, saver := Saver(), device=backend.device_name)
    whole.fit(EPOCHS)
    assert len(saver.states) == EPOCHS * 5
    one = (1, 7)[(OWN.index(own) + NAMES.index(backend.name)) % 2]  # in the first epoch, or in the second
    for state in saver.states[:-1] if backend.name == "numpy" else [saver.states[one]]:
        resumed = own_trainer(own, device=backend.device_name)
        resumed.restore(*state)
        resumed.fit(EPOCHS - resumed.epoch)
        assert_same(resumed.state(), whole.state())


@pytest.mark.parametrize("own", OWN)
def test_going_back_to_the_beginning(own: MakeLayer) -> None:
    """A state of layers that have not computed yet, given to those that have: what a GPU's guard does in the first epoch."""
    trainer, other = own_trainer(own), own_trainer(own)
    beginning = trainer.state()
    trainer.fit(1)
    trainer.restore(*beginning)
    assert_same(trainer.state(), beginning)
    assert_same((trainer.fit(1), trainer.state())[1], (other.fit(1), other.state())[1])


def test_a_declared_state_may_be_empty() -> None:
    class Empty(Noise):
        def forward_state(self) -> dict[str, Any]:
            return {}

        def set_forward_state(self, state: Any) -> None:
            assert state == {}

    trainer = own_trainer(Empty)
    trainer.restore(*trainer.state())


@pytest.mark.parametrize("own", OWN)
def test_a_step_that_is_made_again_is_the_same(own: MakeLayer) -> None:
    """As after memory ran out: the forward pass has failed behind the layer, and is computed once more."""

    class Failing(layers.Layer):
        fails = 1

        def forward(self, x: Any) -> Any:
            self.fails -= 1
            if self.fails == 0:
                raise MemoryError
            return x

    images, labels = next(small_trainer().train_loader.batches(0))
    found = []
    for failing in (True, False):
        trainer = own_trainer(own)
        last = Failing()
        trainer.model.append(last)  # type: ignore[attr-defined]
        if failing:
            with pytest.raises(MemoryError):
                trainer.train_step(images, labels)
        last.fails = 9
        trainer.train_step(images, labels)
        found.append(trainer.state())
    for _, values in found:
        values["layers"].pop("5", None)
    assert_same(found[0], found[1])


@pytest.mark.parametrize("own", OWN)
def test_a_checked_step_leaves_the_layer_as_it_was(own: MakeLayer) -> None:
    images, labels = next(small_trainer().train_loader.batches(0))
    trainer, other = own_trainer(own), own_trainer(own)
    assert repr(run_checked(trainer.model, images, labels)) == repr(run_checked(trainer.model, images, labels))
    trainer.train_step(images, labels)
    other.train_step(images, labels)
    assert_same(trainer.state(), other.state())


def test_a_trainer_says_once_what_is_not_saved() -> None:
    trainer = own_trainer(lambda: Hidden(np.random.default_rng(0)))
    with pytest.warns(
        UserWarning, match=r"(1|3.block) \(Hidden\): a forward pass changes self.kept, a Generator"
    ) as caught:
        trainer.fit(1)
    assert len(caught) == 2, "of two layers"
    trainer.fit(1)


def test_a_state_that_no_file_can_hold_is_named() -> None:
    class Wrong(Noise):
        def forward_state(self) -> dict[str, Any]:
            return {"generator": np.random.default_rng(0)}

    class Listed(Noise):
        def forward_state(self) -> Any:
            return [self.drawn]

    for own, reason in ((Wrong, "Generator is not JSON serializable"), (Listed, r"it is no dict but \[0\]")):
        with pytest.raises(
            StateError, match=rf"^1 \({own.__name__}\): forward_state must give a dict of JSON .*{reason}"
        ):
            own_trainer(own).state()


def test_a_state_that_the_layer_does_not_take_names_the_layer() -> None:
    arrays, values = own_trainer(DeclaredNoise).state()
    values["layers"]["1"] = {"mask": 3}
    with pytest.raises(StateError, match=r"not one that 1 \(DeclaredNoise\) takes \(KeyError: 'masks'\)"):
        own_trainer(DeclaredNoise).restore(arrays, values)
    del values["layers"]["1"]
    with pytest.raises(StateError, match="not those of a trainer's state"):
        own_trainer(DeclaredNoise).restore(arrays, values)
    with pytest.raises(StateError, match=r"layers with a state was \['1', '3.block'\], is \[\] here"):
        own_trainer(Noise).restore(*own_trainer(DeclaredNoise).state())


class Noisy(Tiny):
    """Has a layer that counts, and declares nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.features.append(Noise())


class Spoiler(Callback):
    """Makes a weight NaN after the second step."""

    def on_savepoint(self, trainer: Trainer) -> None:
        if trainer.step == 2:
            trainer.model.output.bias.data[0] = np.nan


def test_a_run_that_failed_is_replayed_with_the_masks_of_that_step(tmp_path: Path) -> None:
    with tiny_names(), mock.patch.dict(models._BY_NAME, tiny=Noisy):
        ready, folder = prepare(RunConfig(**TINY)), RunFolder(tmp_path / "run")
        trainer = ready.trainer([*ready.callbacks(folder), Spoiler()])
        with pytest.raises(TrainingError):
            trainer.fit(1)
        file = folder.path / "failure-step-3.safetensors"
        assert load_checkpoint(file).values["layers"] == {"features.3": {"calls": 2}, "features.5": {"drawn": 2}}
        assert trainer.failed_step is not None
        assert repr(replay(file, "cpu").checked) == repr(trainer.failed_step.checked)


def test_a_run_of_a_model_that_counts_is_resumed_to_the_bit(tmp_path: Path) -> None:
    with tiny_names(), mock.patch.dict(models._BY_NAME, tiny=Noisy):
        whole, half = train(tmp_path / "whole", checkpoint_every=2), train(tmp_path / "half", 8, checkpoint_every=2)
        go_on(resume(half.path))
        assert contents(half) == contents(whole)


def as_format_1(path: Path, dropouts: list[str]) -> None:
    """Rewrite a checkpoint file as gpucnn wrote it when layers declared nothing: format 1, with counters of dropouts alone."""
    arrays, text = read_tensors(path, "gpucnn checkpoint", "checkpoint")
    content = json.loads(text.partition(" ")[2])
    values = content["values"]
    states = values.pop("layers")
    assert list(states) == dropouts
    values["dropout_calls"] = {place: states[place]["calls"] for place in dropouts}
    assert values["fits"].pop("layers with a state") == dropouts
    values["fits"]["dropouts"] = dropouts
    text = json.dumps({**content, "format": 1})
    write_tensors(path, arrays, "gpucnn checkpoint", f"{_checksum(arrays, text)} {text}")


def test_a_checkpoint_of_format_1_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = small_trainer(saver := Saver())
    whole.fit(2)
    file = tmp_path / "step.safetensors"
    save_checkpoint(file, *saver.states[2], {"model": "mlp"})
    assert json.loads(read_tensors(file, "gpucnn checkpoint", "checkpoint")[1].partition(" ")[2])["format"] == 3
    new = load_checkpoint(file)
    as_format_1(file, ["4"])
    old = load_checkpoint(file)
    assert_same((old.arrays, old.values), (new.arrays, new.values))
    assert (old.config, old.versions) == (new.config, new.versions)
    resumed = small_trainer()
    resumed.restore(old.arrays, old.values)
    resumed.fit(2)
    assert_same(resumed.state(), whole.state())


def test_a_file_of_format_1_with_other_values_is_no_state(tmp_path: Path) -> None:
    file = tmp_path / "step.safetensors"
    arrays, values = small_trainer().state()
    for changes in ({"layers": {"4": {"calls": "x"}}}, {"layers": {}, "fits": 3}):
        save_checkpoint(file, arrays, {**values, **changes}, {})
        text = read_tensors(file, "gpucnn checkpoint", "checkpoint")[1].partition(" ")[2]
        content = json.loads(text)
        content["values"]["dropout_calls"] = {
            place: one["calls"] for place, one in content["values"].pop("layers").items()
        }
        text = json.dumps({**content, "format": 1})
        write_tensors(file, arrays, "gpucnn checkpoint", f"{_checksum(arrays, text)} {text}")
        try:
            checkpoint = load_checkpoint(file)
        except RunError:
            continue
        with pytest.raises(StateError):
            small_trainer().restore(checkpoint.arrays, checkpoint.values)
