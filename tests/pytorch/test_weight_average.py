"""Averaged weights against PyTorch's AveragedModel, over 50 steps of training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, optim
from gpucnn import functions as F
from gpucnn.layers import BatchNorm1d, Linear, Sequential

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

STEPS = 50

Agree = Callable[..., None]


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages(agree: Agree, decay: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    model = Sequential(Linear(4, 5), BatchNorm1d(5), Linear(5, 3)).astype(dtype)
    reference = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))
    reference.to(getattr(torch, dtype))
    reference.load_state_dict({path: torch.tensor(array) for path, array in model.state_dict().items()}, strict=False)

    def warmed_up(average: Any, parameter: Any, updates: Any) -> Any:
        # PyTorch copies at its first update, which here takes the initial weights, so the first that averages is number 1.
        kept = min(decay, float(updates) / float(updates + 9))
        return torch.optim.swa_utils.get_ema_avg_fn(kept)(average, parameter, updates)

    average = optim.WeightAverage(model, decay)
    averaged = torch.optim.swa_utils.AveragedModel(reference, avg_fn=warmed_up)
    averaged.update_parameters(reference)
    optimizer = optim.SGD(model.parameters(), 0.05, 0.5)
    reference_optimizer = torch.optim.SGD(reference.parameters(), 0.05, 0.5)
    history: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for _ in range(STEPS):
        images, labels = rng.standard_normal((6, 4)).astype(dtype), rng.integers(0, 3, 6)
        optimizer.zero_grad()
        reference_optimizer.zero_grad()
        F.cross_entropy(model(Tensor(images)), labels).backward()
        torch.nn.functional.cross_entropy(reference(torch.tensor(images)), torch.tensor(labels)).backward()
        optimizer.step()
        reference_optimizer.step()
        average.update()
        averaged.update_parameters(reference)
        theirs = averaged.module.state_dict()
        for path, array in average.state_dict().items():
            if path != "average/updates":
                history.setdefault(path, []).append((array, theirs[path].numpy().copy()))
    pairs = {path: tuple(map(np.array, zip(*both, strict=True))) for path, both in history.items()}
    agree(f"WeightAverage, {STEPS} steps", decay, pairs)
