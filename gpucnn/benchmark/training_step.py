"""A training step of a model: forward pass, cross-entropy, backward pass, SGD with momentum; ours and PyTorch's."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn import models
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, generator, to_device
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.counterpart import counterpart
from gpucnn.benchmark.rivals import CHANNELS_LAST, Rival, computing
from gpucnn.checks import as_count
from gpucnn.layers import Layer
from gpucnn.optim import SGD
from gpucnn.training import CapturedStep

MODELS = ("lenet5", "simplecnn", "vgg_mini", "resnet20")
CLASSES = 10
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
"""A small rate: thousands of steps on one batch must not bring numbers so small that a processor is slow with them."""


class Loss(Protocol):
    """A loss of either library."""

    def item(self) -> float:
        """Its value; on a GPU this waits for it."""


Step: TypeAlias = Callable[[], Loss]


class Workload(NamedTuple):
    """A model and a batch size."""

    model: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.model} {self.batch_size}"

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, C, H, W) of random numbers, and labels (N,) below CLASSES; always the same."""
        shape = (as_count(self.batch_size, "batch_size"), *models.default_input(self.model))
        images = generator(0, "benchmark images").standard_normal(shape, np.float32)
        return images, generator(0, "benchmark labels").integers(0, CLASSES, self.batch_size)


def training_step(rival: Rival, workload: Workload, device: Device) -> Step:
    """A function that makes one training step, as `rival` does, with every call, and gives the loss before it.

    Model and batch lie on `device`, and begin equal for every rival. Raises ArgumentError for a model that is not in MODELS
    if the rival is PyTorch's.
    """
    if rival.is_recorded:
        return computing(rival, Recorded(workload, device))
    return computing(rival, _ours(workload, device)) if rival.ours else _theirs(workload, device, rival.variant)


class Recorded:
    """Our step, recorded once and replayed, where that is possible; else it warns, and is as any other."""

    def __init__(self, workload: Workload, device: Device) -> None:
        model, optimizer, self._batch = _made(workload, device)
        self.step = CapturedStep(model, optimizer)

    def __call__(self) -> Tensor:
        return self.step(*self._batch)


def _made(workload: Workload, device: Device) -> tuple[Layer, SGD, tuple[Array, Array]]:
    """Model, optimizer and batch."""
    images, labels = (to_device(array, device) for array in workload.batch())
    model = models.create(workload.model, CLASSES, seed=0).to(device)
    return model, SGD(model.parameters(), LEARNING_RATE, MOMENTUM), (images, labels)


def _ours(workload: Workload, device: Device) -> Step:
    model, optimizer, (images, labels) = _made(workload, device)
    return _step(lambda: F.cross_entropy(model(Tensor(images)), labels), optimizer)


def _theirs(workload: Workload, device: Device, variant: str) -> Step:
    torch = pytorch.torch()
    images, labels = (pytorch.on_device(array, device) for array in workload.batch())
    module = counterpart(models.create(workload.model, CLASSES, seed=0)).to(str(device))
    best = variant == CHANNELS_LAST
    if best:
        module, images = (one.to(memory_format=torch.channels_last) for one in (module, images))
    optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE, MOMENTUM, fused=best)
    return _step(lambda: torch.nn.functional.cross_entropy(module(images), labels), optimizer)


def _step(forward: Callable[[], Any], optimizer: Any) -> Step:
    """What both libraries do with a loss and an optimizer."""

    def step() -> Any:
        loss = forward()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
