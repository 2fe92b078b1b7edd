"""A trainer's whole state as arrays and JSON values, and back."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.checks import is_int
from gpucnn.errors import GpucnnError, StateError
from gpucnn.layers import Layer
from gpucnn.layers.finite import refuse_not_finite
from gpucnn.optim import ReduceOnPlateau
from gpucnn.text import value_text
from gpucnn.training.callback import Callback

if TYPE_CHECKING:
    from gpucnn.training.trainer import Trainer

PARTS = ("model", "optimizer", "average", "metrics")
"""Arrays are called "model/conv1.weight", "optimizer/conv1.weight/momentum", ..."""


def collect(trainer: "Trainer") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, values) of `trainer`, see `Trainer.state`. StateError between the batches of one step."""
    if trainer.gradient_mean.images:
        raise StateError(
            f"batch {trainer.batch} of epoch {trainer.epoch + 1} is not the last of the {trainer.accumulate} that make one "
            f"step of the optimizer; save the state in the hook on_savepoint"
        )
    return snapshot(trainer)


def snapshot(trainer: "Trainer") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `collect` gives, at any moment: without the gradients that accumulate between the batches of one step."""
    states = {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "average": {} if trainer.average is None else trainer.average.state_dict(),
        "metrics": trainer.metrics.state_dict(),
    }
    arrays = {f"{part}/{name}": array for part in PARTS for name, array in states[part].items()}
    return arrays, {
        "fits": _fits(trainer),
        "epoch": trainer.epoch,
        "batch": trainer.batch,
        "step": trainer.step,
        "lr": float(trainer.optimizer.lr),
        "weight_decay": float(trainer.optimizer.weight_decay),
        "stop_reason": trainer.stop_reason,
        "layers": {
            path: state
            for path, layer in trainer.model.named_layers()
            if (state := _state_of(layer)) or layer.declares_forward_state
        },
        "schedule": _schedule_state(trainer),
        "callbacks": [callback.state_dict() for callback in _with_state(trainer)],
        "history": [dict(row) for row in trainer.history],
    }


def restore(trainer: "Trainer", arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
    """Put `trainer` where the one stood whose state this is, see `Trainer.restore`, also if its weights are spoilt."""
    _check_values(trainer, values)
    states: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
    for key, array in arrays.items():
        part, _, name = key.partition("/")
        if part not in states:
            raise StateError(f"{key!r} is no array of a trainer's state; their names begin with {', '.join(PARTS)}")
        states[part][name] = array
    trainer.model.load_state_dict(states["model"], finite=False)
    trainer.optimizer.load_state_dict(states["optimizer"])
    trainer.optimizer.zero_grad()
    if trainer.average is not None:
        trainer.average.load_state_dict(states["average"])
    trainer.metrics.load_state_dict(states["metrics"], trainer.device)
    if isinstance(trainer.schedule, ReduceOnPlateau):
        trainer.schedule.load_state_dict(values["schedule"])
    for callback, state in zip(_with_state(trainer), values["callbacks"], strict=True):
        _restore_callback(callback, state)
    restore_layers(trainer.model, values["layers"])
    trainer.optimizer.lr, trainer.optimizer.weight_decay = values["lr"], values["weight_decay"]
    trainer.epoch, trainer.batch, trainer.step = values["epoch"], values["batch"], values["step"]
    trainer.stop_reason = values["stop_reason"]
    trainer.history = [dict(row) for row in values["history"]]


def restore_layers(model: Layer, states: Mapping[str, Any]) -> None:
    """Give each layer within `model` its forward state, by path. StateError for one that is none of its own."""
    layers = dict(model.named_layers())
    if unknown := [path for path in states if path not in layers]:
        raise StateError(f"the state is of another model: there is no layer {unknown[0]!r} here")
    for path, layer in layers.items():
        if path not in states and layer.declares_forward_state:
            continue
        try:
            layer.set_forward_state(states.get(path, {}))
        except GpucnnError:
            raise
        except Exception as error:  # of whoever wrote the layer
            reason = f"{type(error).__name__}: {error}"
            raise StateError(f"the state is not one that {layer.label} takes ({reason})") from error


def check_weights(trainer: "Trainer", arrays: Mapping[str, np.ndarray]) -> None:
    """StateError unless the parameters and their averages are finite, and nothing else of the state is NaN.

    That is what a state must be to be saved: a second moment, or a running variance, may have become infinite.
    """
    parameters = [path for path, _ in trainer.model.named_parameters()]
    weights = {f"{part}/{path}" for part in ("model", "average") for path in parameters}
    refuse_not_finite(
        type(trainer.model).__name__,
        {
            name.removeprefix("model/"): array
            for name, array in arrays.items()
            if name in weights
            or (array.dtype.kind == "f" and np.isnan(array).any() and not name.startswith("metrics/"))
        },
    )


def _state_of(layer: Layer) -> dict[str, Any]:
    """What a forward pass changes in the layer, as it comes back from JSON. StateError if it cannot go there."""
    state = layer.forward_state()
    try:
        copied = json.loads(json.dumps(state))
        if not isinstance(copied, dict):
            raise TypeError(f"it is no dict but {value_text(state)}")
    except (TypeError, ValueError) as error:
        raise StateError(
            f"{layer.label}: forward_state must give a dict of JSON values, e.g. {{'calls': self.calls}} ({error})"
        ) from None
    return copied


def _fits(trainer: "Trainer") -> dict[str, Any]:
    """What two trainers must have in common for the state of one to be of use to the other."""
    return {
        "optimizer": type(trainer.optimizer).__name__,
        "schedule with a state": None if _schedule_state(trainer) is None else type(trainer.schedule).__name__,
        "average": trainer.average is not None,
        "images an epoch": len(trainer.train_loader.dataset),
        "batches an epoch": len(trainer.train_loader),
        "batches a step": trainer.accumulate,
        "callbacks with a state": [type(callback).__name__ for callback in _with_state(trainer)],
        "layers with a state": _with_forward_state(trainer),
    }


def _check_values(trainer: "Trainer", values: Mapping[str, Any]) -> None:
    """StateError unless `values` are of the right kinds, and of a trainer like this one."""
    fits = _entry(values, "fits", dict)
    for name, own in _fits(trainer).items():
        if name not in fits or fits[name] != own:
            raise StateError(
                f"the state is of another trainer: {name} was {value_text(fits.get(name))}, is {own!r} here; build the trainer as it "
                f"was when the state was saved"
            )
    counts = {name: _entry(values, name, int) for name in ("epoch", "batch", "step")}
    layers = _entry(values, "layers", dict)
    rates = [_entry(values, name, float) for name in ("lr", "weight_decay")]
    history, states = _entry(values, "history", list), _entry(values, "callbacks", list)
    _entry(values, "stop_reason", str)
    whole = (
        all(is_int(count) and count >= 0 for count in counts.values())
        and counts["batch"] <= len(trainer.train_loader)
        and all(rate >= 0 and math.isfinite(rate) for rate in rates)
        and all(isinstance(state, dict) for state in layers.values())
        and all(path in layers for path in _with_forward_state(trainer))
        and len(history) == counts["epoch"]
        and all(isinstance(row, dict) for row in history)
        and len(states) == len(_with_state(trainer))
        and all(isinstance(state, dict) for state in states)
        and isinstance(values.get("schedule"), dict) == (_schedule_state(trainer) is not None)
    )
    if not whole:
        raise StateError(
            f"the values are not those of a trainer's state, or were changed: epoch {counts['epoch']}, batch "
            f"{counts['batch']}, step {counts['step']}, {len(history)} rows of history"
        )


def _entry(values: Mapping[str, Any], name: str, kind: type) -> Any:
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise StateError(
            f"the values are not those of a trainer's state: {name!r} must be {kind.__name__}, is {value_text(value)}"
        )
    return value


def _restore_callback(callback: Callback, state: dict[str, Any]) -> None:
    try:
        callback.load_state_dict(state)
    except GpucnnError:
        raise
    except Exception as error:  # of whoever wrote the callback
        name, reason = type(callback).__name__, f"{type(error).__name__}: {error}"
        raise StateError(f"the state is not one that the callback {name} takes ({reason})") from error


def _with_forward_state(trainer: "Trainer") -> list[str]:
    """The paths of the layers that declare what a forward pass changes in them."""
    return [path for path, layer in trainer.model.named_layers() if layer.declares_forward_state]


def _with_state(trainer: "Trainer") -> list[Callback]:
    return [callback for callback in trainer.callbacks if callback.state_dict()]


def _schedule_state(trainer: "Trainer") -> dict[str, Any] | None:
    return trainer.schedule.state_dict() if isinstance(trainer.schedule, ReduceOnPlateau) else None
