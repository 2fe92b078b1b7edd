"""Whole models against PyTorch's, built here with torchvision's names: logits, gradients, running statistics.

torchvision itself is not needed; `tests/models/test_torchvision_layout.py` holds the names against its own.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import layers, models

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
nn = torch.nn

Agree = Callable[..., None]

CLASSES = 10


class Residual(nn.Module):
    """A basic block or bottleneck: `kernels` are its convolutions' sizes, the first 3x3 one has the stride."""

    def __init__(self, kernels: tuple[int, ...], inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.count = len(kernels)
        for index, kernel in enumerate(kernels, 1):
            after = outputs if index == self.count else width
            step = stride if index == kernels.index(3) + 1 else 1
            setattr(self, f"conv{index}", nn.Conv2d(inputs, after, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{index}", nn.BatchNorm2d(after))
            inputs = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = torch.relu(y) if index < self.count else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def resnet(kernels: tuple[int, ...], expansion: int, counts: tuple[int, ...]) -> nn.Module:
    stem = [("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False)), ("bn1", nn.BatchNorm2d(64)), ("relu", nn.ReLU())]
    parts: list[tuple[str, nn.Module]] = [*stem, ("maxpool", nn.MaxPool2d(3, 2, 1))]
    inputs = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        outputs = width * expansion
        blocks = []
        for index in range(count):
            stride = 2 if stage and not index else 1
            blocks.append(Residual(kernels, inputs, width, outputs, stride))
            if inputs != outputs or stride > 1:
                shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                blocks[-1].downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
            inputs = outputs
        parts.append((f"layer{stage + 1}", nn.Sequential(*blocks)))
    tail = [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(inputs, CLASSES))]
    return nn.Sequential(OrderedDict([*parts, *tail]))


class Added(nn.Module):
    """A branch, called `name` as torchvision does, added to its input."""

    def __init__(self, name: str, branch: nn.Module) -> None:
        super().__init__()
        self.add_module(name, branch)
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + getattr(self, self.name)(x)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


def mobilenet_v2() -> nn.Module:
    features: list[nn.Module] = [convolution(3, 32, 3, 2)]
    inputs = 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, outputs, count, first in table:
        for index in range(count):
            stride, width = 1 if index else first, inputs * expansion
            expand = [convolution(inputs, width, 1)] if expansion > 1 else []
            depthwise = convolution(width, width, 3, stride, width)
            down = nn.Conv2d(width, outputs, 1, bias=False)
            branch = nn.Sequential(*expand, depthwise, down, nn.BatchNorm2d(outputs))
            added = stride == 1 and inputs == outputs
            features.append(Added("conv", branch) if added else nn.Sequential(OrderedDict(conv=branch)))
            inputs = outputs
    features.append(convolution(320, 1280, 1))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(nn.Identity(), nn.Linear(1280, CLASSES)),
        )
    )


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.block = nn.ModuleDict(
            {
                "0": nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
                "2": nn.LayerNorm(channels, eps=1e-6),
                "3": nn.Linear(channels, 4 * channels),
                "5": nn.Linear(4 * channels, channels),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block["2"](self.block["0"](x).permute(0, 2, 3, 1))
        y = self.block["5"](nn.functional.gelu(self.block["3"](y)))
        return x + self.layer_scale * y.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext_tiny() -> nn.Module:
    features: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 96, 4, 4), ChannelNorm(96, eps=1e-6))]
    for stage, count in enumerate((3, 3, 9, 3)):
        width = 96 << stage
        if stage:
            before = width // 2
            features.append(nn.Sequential(ChannelNorm(before, eps=1e-6), nn.Conv2d(before, width, 2, 2)))
        features.append(nn.Sequential(*(ConvNeXtBlock(width) for _ in range(count))))
    classifier = nn.Sequential(ChannelNorm(768, eps=1e-6), nn.Flatten(), nn.Linear(768, CLASSES))
    parts = {"features": nn.Sequential(*features), "pool": nn.AdaptiveAvgPool2d(1), "classifier": classifier}
    return nn.Sequential(OrderedDict(parts))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


def squeezenet() -> nn.Module:
    features: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU()]
    inputs = 64
    for group in (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))):
        features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        for squeezed, expanded in group:
            features.append(Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
    classifier = nn.Sequential(nn.Identity(), nn.Conv2d(512, CLASSES, 1), nn.ReLU())
    parts = {"features": nn.Sequential(*features), "classifier": classifier, "pool": nn.AdaptiveAvgPool2d(1)}
    return nn.Sequential(OrderedDict(**parts, flatten=nn.Flatten()))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: resnet((3, 3), 1, (2, 2, 2, 2)),
    "resnet50": lambda: resnet((1, 3, 1), 4, (3, 4, 6, 3)),
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
    "convnext_tiny": convnext_tiny,
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_gradients_and_statistics(agree: Agree, name: str, training: bool, rng: np.random.Generator) -> None:
    """In float64: in float32, rounding opens or shuts a ReLU here and there, and its gradient is another."""
    model, module = models.create(name, CLASSES, image_size=64, seed=1).astype("float64"), MODELS[name]().double()
    state = {
        path: rng.uniform(0.5, 1.5, array.shape) if array.ndim == 1 or "layer_scale" in path else array
        for path, array in model.state_dict().items()
    }
    model.load_state_dict(state)
    loaded = module.load_state_dict({path: torch.tensor(array) for path, array in state.items()}, strict=False)
    assert not loaded.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in loaded.missing_keys)
    for _, layer in model.named_layers():
        if isinstance(layer, layers.Dropout):
            layer.p = 0.0
    module.train(training)
    if not training:
        model.eval()

    images, labels = rng.standard_normal((3, 3, 64, 64)), rng.integers(CLASSES, size=3)
    logits, expected = model(images), module(torch.tensor(images))
    F.cross_entropy(logits, labels).backward()
    nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    references = dict(module.named_parameters())
    statistics = module.state_dict()
    agree(
        f"{name}, {'training' if training else 'evaluation'}",
        0,
        {
            "logits": (logits.numpy(), expected.detach().numpy()),
            **{f"{path} gradient": (p.grad, references[path].grad.numpy()) for path, p in model.named_parameters()},
            **{path: (buffer.data, statistics[path].numpy()) for path, buffer in model.named_buffers()},
        },
    )
