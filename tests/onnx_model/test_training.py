"""A model that was exported and loaded again trains as the model itself does."""

from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, layers, models, optim, training
from gpucnn import functions as F
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.export import save_onnx, to_onnx

SAMPLE = ("lenet5", "resnet20", "squeezenet")
SMALL = {"resnet20": 16, "squeezenet": 32}
"""Image sizes for the sample; with --onnx models of large images get 64."""
WHOLE = ("alexnet", "vgg")
"""How the names of those begin that get images of their own size: of others their last pooling is written as products, which round."""


def sizes(name: str, everything: bool) -> int | None:
    size = models.default_input(name)[1]
    if everything:
        return size if name.startswith(WHOLE) else min(size, 64)
    return SMALL.get(name)


@pytest.fixture
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[layers.Layer, layers.Layer, np.ndarray]:
    """A model, the same through a file, and images."""
    everything = request.config.getoption("--onnx")
    if not everything and request.param not in SAMPLE:
        pytest.skip("with --onnx alone")
    model = models.create(request.param, image_size=sizes(request.param, everything), seed=3)
    images = np.random.default_rng(0).random((2 if model.built_for()[1] > 64 else 4, *model.built_for()), np.float32)
    for _, layer in model.named_layers():
        if isinstance(layer, layers.Dropout):  # a file of a trained model has none
            layer.p = 0.0
    save_onnx(to_onnx(model, images[:2]), tmp_path / "model.onnx")
    return model, gpucnn.load_onnx(tmp_path / "model.onnx"), images


def losses(model: layers.Layer, images: np.ndarray) -> np.ndarray:
    optimizer, found = optim.SGD(model.train().parameters(), lr=1e-4, momentum=0.9), []
    for _ in range(3):
        logits = model(Tensor(images))
        rows = logits if logits.ndim == 2 else logits.mean(axis=(2, 3))
        loss = F.cross_entropy(rows, np.arange(len(images)) % rows.shape[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


@pytest.mark.parametrize("exported", models.names(), indirect=True)
def test_three_steps_give_the_losses_of_the_original(
    exported: tuple[layers.Layer, layers.Layer, np.ndarray],
) -> None:
    model, loaded, images = exported
    assert set(loaded.state_dict()) == set(model.state_dict())
    own, other = losses(model, images), losses(loaded, images)
    assert np.isfinite(own).all()
    assert np.isfinite(other).all()
    np.testing.assert_allclose(other, own, rtol=1e-6)
    for path, buffer in model.named_buffers():
        np.testing.assert_allclose(dict(loaded.named_buffers())[path].array, buffer.array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("exported", ["lenet5"], indirect=True)
def test_the_trainer_trains_it_and_a_file_keeps_it(
    exported: tuple[layers.Layer, layers.Layer, np.ndarray],
) -> None:
    model, loaded, images = exported
    data = DataLoader(ArrayDataset(images, np.arange(4)), batch_size=2)
    for one in (model, loaded):
        training.Trainer(one, optim.Adam(one.parameters(), lr=1e-3), data).fit(epochs=2)
        one.eval()
    np.testing.assert_allclose(loaded(images).array, model(images).array, rtol=1e-5, atol=1e-6)
    loaded.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(loaded(images).array, model(images).array)
