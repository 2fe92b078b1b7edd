"""The page for those who come from PyTorch: what stands on its left gives there what its right gives here."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpucnn import Tensor
from tests.pytorch_rows import IMAGES, LABELS, LOGITS, ROWS, Mine, collate, names_here, result_of


def names_there() -> dict[str, Any]:
    """What lines of PyTorch are run with."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    return {
        "torch": torch, "nn": torch.nn, "F": torch.nn.functional, "optim": torch.optim, "OrderedDict": OrderedDict, "mine": Mine(), "collate": collate,
        "DataLoader": torch.utils.data.DataLoader, "TensorDataset": torch.utils.data.TensorDataset,
        "random_split": torch.utils.data.random_split, "net": net, "model": model, "opt": torch.optim.SGD(model.parameters(), lr=0.1),
        "array": np.ones(3, np.float32), "x": torch.tensor(IMAGES), "logits": torch.tensor(LOGITS), "labels": torch.tensor(LABELS),
        "w": torch.ones(3, requires_grad=True),
    }  # fmt: skip


def numbers(value: Any) -> np.ndarray | None:
    """What can be compared: arrays, and numbers, texts and lists of them; None for objects."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    return array if array.dtype.kind in "biufU" else None


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # within torch.compile
@pytest.mark.parametrize("row", ROWS, ids=[row[0][:50] for row in ROWS])
def test_both_sides_of_a_line_are_equal(row: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there, here = result_of(row[0], names_there()), result_of(row[1], names_here())
    if isinstance(there, Mapping | torch.nn.Module) or "torch.manual_seed" in row[0]:
        return
    expected, found = numbers(there), numbers(here)
    assert (expected is None) == (found is None) or any(word in row[0] for word in ("gradcheck", "precision"))
    if expected is not None and found is not None:
        assert found.shape == expected.shape
        is_drawn = any(word in row[0] for word in ("init.", "clip_grad_norm_", "cuda", "precision"))
        if expected.dtype.kind == "U":
            assert (found == expected).all()
        elif not is_drawn:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
