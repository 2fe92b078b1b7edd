"""Weights that `gpucnn export --format torch-names` writes: torchvision's models take them strictly, and the logits are ours."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import Tensor, models, no_grad
from gpucnn.data import Preprocess
from gpucnn.export import write_weights
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.models.test_torchvision_layout import IN_TORCHVISION, TORCHVISION_NAMES
from tests.pytorch.test_weights import library

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
"""Of the largest logit."""
CLASSES, SIZE = 7, 64


def trained(name: str, folder: Path) -> TrainedRun:
    """With statistics, scales and shifts that are no longer zeros and ones."""
    create = {"name": name, "num_classes": CLASSES, "in_channels": 3, "image_size": SIZE}
    model, draw = models.create(**create, seed=2), np.random.default_rng(5)
    state = model.state_dict()
    drawn = {path: draw.uniform(0.5, 1.5, one.shape).astype("f4") for path, one in state.items() if one.ndim == 1}
    model.load_state_dict({**state, **drawn})
    names = [f"class {number}" for number in range(CLASSES)]
    preprocess, weights = Preprocess(3, SIZE, SIZE, 255, "crop"), Weights("last", folder / "model.safetensors", {})
    return TrainedRun(model.eval(), preprocess, names, {"create": create, "data": "folder"}, weights)


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_torchvision_takes_them_strictly_and_gives_our_logits(name: str, tmp_path: Path) -> None:
    torchvision = library("torchvision")
    from safetensors.torch import load_file

    run = trained(name, tmp_path)
    path = write_weights(run, tmp_path / "w.safetensors", for_torchvision=True).file
    module = getattr(torchvision.models, TORCHVISION_NAMES.get(name, name))(num_classes=CLASSES)
    keys = module.load_state_dict(load_file(path), strict=True)
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    images = np.random.default_rng(1).standard_normal((2, 3, SIZE, SIZE))
    for dtype, tolerance in TOLERANCE.items():
        given = images.astype(dtype)
        module, model = module.eval().to(getattr(torch, dtype)), run.model.astype(dtype)
        with torch.no_grad(), no_grad():
            expected, logits = module(torch.tensor(given)).numpy(), model(Tensor(given)).numpy()
        assert np.isfinite(logits).all()
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * np.abs(expected).max())
