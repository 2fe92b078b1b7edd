"""Training of whole models against PyTorch's: the same weights, the same batches, the same loss in every step."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import models
from gpucnn.benchmark.counterpart import counterpart
from gpucnn.layers import Layer
from gpucnn.models import LeNet5, SimpleCNN
from gpucnn.optim import SGD, one_cycle

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
nn = torch.nn

STEPS, BATCH = 50, 32

Agree = Callable[..., None]


def lenet5() -> tuple[Layer, torch.nn.Module, int]:
    """Ours, PyTorch's, and the size of the images."""
    module = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(400, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    )
    return LeNet5(seed=1), module, 32


def simple_cnn() -> tuple[Layer, torch.nn.Module, int]:
    """Ours, PyTorch's, and the size of the images."""
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(8 * 13 * 13, 128), nn.ReLU()),
        nn.Linear(128, 10),
    )
    return SimpleCNN(seed=1), module, 28


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
@pytest.mark.parametrize("build", [lenet5, simple_cnn])
def test_losses_agree_in_every_step(
    agree: Agree, build: Callable[[], tuple[Layer, torch.nn.Module, int]], dtype: str, tolerance: float
) -> None:
    model, module, size = build()
    model.astype(dtype)
    module.to(getattr(torch, dtype))
    parameters = list(model.parameters())
    references = list(module.parameters())
    with torch.no_grad():
        for parameter, reference in zip(parameters, references, strict=True):
            assert parameter.shape == tuple(reference.shape)
            reference.copy_(torch.tensor(parameter.data))

    optimizer = SGD(parameters, lr=0.01, momentum=0.9)
    reference_optimizer = torch.optim.SGD(references, lr=0.01, momentum=0.9)
    schedule = one_cycle(0.05, STEPS)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(reference_optimizer, 0.05, STEPS, cycle_momentum=False)
    rng = np.random.default_rng(0)
    operation = f"training {type(model).__name__}, {STEPS} steps"
    losses = []
    for step in range(STEPS):
        images = rng.standard_normal((BATCH, 1, size, size)).astype(dtype)
        labels = rng.integers(10, size=BATCH)

        optimizer.lr = schedule(step)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        expected = nn.functional.cross_entropy(module(torch.tensor(images)), torch.tensor(labels))
        reference_optimizer.zero_grad()
        expected.backward()
        reference_optimizer.step()
        if step < STEPS - 1:
            scheduler.step()

        agree(operation, 0, {f"loss of step {step}": (loss.numpy(), expected.detach().numpy())}, tolerance)
        losses.append(loss.item())
    assert np.ptp(losses) > 0.1, "nothing was learned, so nothing was compared"
    weights = {
        path: (parameter.data, reference.detach().numpy())
        for (path, parameter), reference in zip(model.named_parameters(), references, strict=True)
    }
    agree(f"{operation}: weights", 0, weights, tolerance)


@pytest.mark.parametrize("name", ["vgg_mini", "resnet20"])
def test_losses_agree_through_batch_norm(agree: Agree, name: str) -> None:
    """In float64: batch norm magnifies rounding so much that in float32 PyTorch's two layouts do not agree with each other."""
    model = models.create(name, seed=1).astype("float64")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((STEPS, 8, *models.default_input(name)))
    labels = rng.integers(10, size=(STEPS, 8))
    model(images[0])  # draws the weights, and moves statistics that training does not look at
    module = counterpart(model).double()
    with torch.no_grad():  # the counterpart has them as float32
        for parameter, reference in zip(model.parameters(), module.parameters(), strict=True):
            reference.copy_(torch.tensor(parameter.data))
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    reference_optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for step in range(STEPS):
        loss = F.cross_entropy(model(images[step]), labels[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected = nn.functional.cross_entropy(module(torch.tensor(images[step])), torch.tensor(labels[step]))
        reference_optimizer.zero_grad()
        expected.backward()
        reference_optimizer.step()
        pair = {f"loss of step {step}": (loss.numpy(), expected.detach().numpy())}
        agree(f"training {name}, {STEPS} steps", 0, pair, 1e-6)
        losses.append(loss.item())
    assert np.ptp(losses) > 0.1, "nothing was learned, so nothing was compared"
