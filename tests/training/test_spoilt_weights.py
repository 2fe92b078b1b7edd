"""Weights that are NaN or infinite are not loaded, wherever they come from; only a step that failed is looked at with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpucnn import Tensor, layers
from gpucnn.cli.main import main
from gpucnn.errors import RunError, StateError
from gpucnn.files.checkpoint_file import CheckpointFolder
from gpucnn.files.model_file import read_description, save_model
from gpucnn.training import load_checkpoint, resume, save_checkpoint
from tests.backends import Backend
from tests.runs.tiny_run import contents, go_on, tiny_names, train
from tests.training.small_run import small_trainer

FIX = "load a file that was saved before they became so, e.g. an earlier checkpoint, and train from there with a lower learning rate"


def net() -> layers.Sequential:
    return layers.Sequential(layers.Linear(2, 3), layers.BatchNorm1d(3), layers.Linear(3, 2))


def spoilt(state: dict[str, np.ndarray], **values: list[float]) -> dict[str, np.ndarray]:
    """A copy of `state` with these values at the beginning of arrays; a path has _ for dots."""
    state = {path: array.copy() for path, array in state.items()}
    for name, some in values.items():
        array = state[name.replace("__", ".")]
        array.reshape(-1)[: len(some)] = some
    return state


def test_load_state_dict_names_parameters_counts_and_the_fix(backend: Backend) -> None:
    model = net().to(backend.device_name)
    before = model.state_dict()
    nan, inf = float("nan"), float("inf")
    state = spoilt(before, **{"0__weight": [nan, 1, inf, -inf], "1__running_var": [inf], "2__bias": [nan, nan]})  # type: ignore[arg-type]
    for given in (state, {path: backend.array(array) for path, array in state.items()}):
        with pytest.raises(StateError) as raised:
            model.load_state_dict(given)
        assert str(raised.value) == (
            f"the weights for Sequential are spoilt: 0.weight has 1 NaN and 2 infinite of 6 values in float32; 1.running_var has "
            f"1 infinite of 3 values in float32; 2.bias has 2 NaN of 2 values in float32; {FIX}"
        )
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    model.load_state_dict(state, finite=False)
    np.testing.assert_array_equal(model.state_dict()["0.weight"], state["0.weight"])


def test_what_the_dtype_cannot_hold_is_infinite() -> None:
    for value in (np.full((3, 2), 1e300), Tensor(np.full((3, 2), -1e300))):
        model = layers.Linear(2, 3)
        with pytest.raises(StateError, match=r"weight has \d infinite of 6 values in float32"):
            model.load_state_dict({"weight": value, "bias": np.zeros(3)})
    many = layers.Sequential(*(layers.Linear(1, 1) for _ in range(6)))
    with pytest.raises(StateError, match=r"3.weight has 1 NaN of 1 values in float32; and 2 more; load a file"):
        many.load_state_dict(
            {path: array * (np.nan if "weight" in path else 1) for path, array in many.state_dict().items()}
        )
    layers.Linear(2, 3).load_state_dict({"weight": np.ones((3, 2), int), "bias": np.zeros(3, np.float16)})


def test_a_mask_of_infinities_is_no_spoilt_buffer() -> None:
    class Masked(layers.Layer):
        def __init__(self) -> None:
            self.mask = layers.Buffer((2,), lambda _, shape: np.array([0.0, -np.inf]))
            self.weight = layers.Parameter((2,), lambda _, shape: np.ones(shape))

    state = Masked().state_dict()
    Masked().load_state_dict(state)
    with pytest.raises(StateError, match=r"spoilt: weight has 1 infinite of 2 values"):
        Masked().load_state_dict({**state, "weight": state["mask"]})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model/0.weight", np.nan, "0.weight has 1 NaN of 18 values"),
        ("model/0.weight", np.inf, "0.weight has 1 infinite of 18 values"),
        ("model/1.running_mean", np.nan, "1.running_mean has 1 NaN of 2 values"),
        ("average/5.bias", np.inf, "average/5.bias has 1 infinite of 3 values"),
        ("optimizer/5.bias/momentum", np.nan, "optimizer/5.bias/momentum has 1 NaN of 3 values"),
        ("model/1.running_var", np.inf, None),
        ("optimizer/5.bias/momentum", np.inf, None),
    ],
)
def test_a_trainer_takes_what_it_would_have_saved(name: str, value: float, message: str | None) -> None:
    trainer = small_trainer(average=True)
    trainer.fit(1)
    arrays, values = trainer.state()
    arrays[name].reshape(-1)[0] = value
    other = small_trainer(average=True)
    before = other.model.state_dict()
    if message is None:
        other.restore(arrays, values)
        return
    with pytest.raises(StateError, match=f"the weights for Sequential are spoilt: {message}"):
        other.restore(arrays, values)
    for path, array in other.model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def spoil(path: Path, name: str, value: float) -> None:
    """Write a checkpoint file anew, with one value changed."""
    found = load_checkpoint(path)
    found.arrays[name].reshape(-1)[0] = value
    save_checkpoint(path, found.arrays, found.values, found.config)


def test_a_run_goes_on_from_the_last_checkpoint_that_is_not_spoilt(tmp_path: Path) -> None:
    with tiny_names():
        whole = train(tmp_path / "whole", checkpoint_every=1, keep=9)
        half = train(tmp_path / "half", 9, checkpoint_every=1, keep=9)
        newest = half.checkpoints.files()[-1]
        spoil(newest, "model/output.weight", np.nan)
        resumed = resume(half.path)
        assert resumed.checkpoint.values["step"] == 8
        assert (
            f"{newest}: spoilt (model/output.weight has 1 NaN of 270 values in float32); going on from"
            in resumed.notes[0]
        )
        go_on(resumed)
        assert contents(half)["model.safetensors"] == contents(whole)["model.safetensors"]
        for path in half.checkpoints.files():
            spoil(path, "model/output.weight", np.nan)
        with pytest.raises(
            RunError, match=r"no checkpoint of the run can be read: .*spoilt \(model/output.weight has 1 NaN"
        ):
            resume(half.path)


def test_infinite_weights_are_refused_when_the_run_goes_on(tmp_path: Path) -> None:
    with tiny_names():
        folder = train(tmp_path / "run", 4, checkpoint_every=1)
        spoil(folder.checkpoints.files()[-1], "model/output.weight", np.inf)
        with pytest.raises(
            RunError, match=r"step-000000004.safetensors: the weights for Tiny are spoilt: output.weight has 1 inf"
        ):
            resume(folder.path).trainer(resume(folder.path).ready.callbacks(folder))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_the_commands_refuse_a_spoilt_model_file(
    value: float, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("digit.npy", np.zeros((8, 8), np.uint8))
    with tiny_names():
        folder = train(Path("run"), epochs=1)
        file, model = folder.model_file, folder.load_model()
        description = read_description(file)
        weight = dict(model.named_parameters())["output.weight"]
        weight.data[0, 0] = value
        save_model(file, model, description)
        assert not np.isfinite(load_file(file)["output.weight"]).all()
        kind = "NaN" if np.isnan(value) else "infinite"
        for command in (["evaluate", "run"], ["predict", "run", "digit.npy"]):
            assert main([*command, "--device", "cpu"]) == 1
            assert capsys.readouterr().err == (
                f"gpucnn {command[0]}: {file}: the weights for the model are spoilt: output.weight has 1 {kind} of 270 values in "
                f"float32; {FIX}\n"
            )


def test_a_folder_of_checkpoints_passes_over_spoilt_ones(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    values: dict[str, Any] = {"step": 1}
    folder.save(1, {"model/weight": np.ones(2, np.float32)}, values, {})
    folder.save(2, {"model/weight": np.array([np.nan, 1], np.float32), "batch/images": np.array([np.nan])}, values, {})
    found = folder.load()
    assert found.path.name == "step-000000001.safetensors"
    assert (
        "step-000000002.safetensors: spoilt (model/weight has 1 NaN of 2 values in float32); going on from step"
        in found.warning
    )
    folder.save(3, {"model/weight": np.ones(2, np.float32), "batch/images": np.array([np.nan])}, values, {})
    assert folder.load().path.name == "step-000000003.safetensors"
