"""A network of PyTorch, written by its exporter and loaded here: the same answers, the same paths, the same training."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import functions as F
from gpucnn import optim

torch = pytest.importorskip("torch")
pytest.importorskip("onnx", reason="PyTorch's exporter needs onnx")

from torch import nn  # noqa: E402


class Block(nn.Module):
    """A residual block, whose batch norms are folded where the exporter may."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters, momentum=0.3)
        self.down = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.down(x))


class Net(nn.Module):
    """Convolutions, then tokens: as many kinds of layers as fit."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.act = nn.PReLU(16)
        self.norm = nn.GroupNorm(4, 16)
        self.gamma = nn.Parameter(torch.full((16, 1, 1), 0.5))
        self.up = nn.ConvTranspose2d(16, 16, 2, 2)
        self.positions = nn.Parameter(torch.randn(1, 4, 16) * 0.1)
        self.tokens = nn.LayerNorm(16)
        self.mix = nn.Linear(16, 12)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.act(self.blocks(self.stem(x)))) * self.gamma
        x = nn.functional.max_pool2d(nn.functional.interpolate(x, scale_factor=2), 2)
        x = nn.functional.hardswish(nn.functional.gelu(self.up(x)))
        x = nn.functional.adaptive_avg_pool2d(x, 2)
        tokens = x.reshape(x.shape[0], 16, -1).permute(0, 2, 1) + self.positions
        tokens = self.mix(self.tokens(tokens))
        tokens = torch.cat([tokens[:, 2:], tokens[:, :2]], 1)
        return self.head(self.drop(tokens.flatten(1)))


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        for _ in range(3):  # running statistics of their own
            made(torch.rand(4, 3, 16, 16) * 2 - 0.5)
        for layer in (made.norm, made.tokens):
            layer.weight.uniform_(0.5, 1.5)
    return made


def exported(net: Any, path: Path, opset: int, training: bool) -> Any:
    """What is loaded of the file that `torch.onnx.export` writes."""
    net = copy.deepcopy(net).train(training)
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.rand(2, 3, 16, 16),), str(path), dynamo=False, training=mode, do_constant_folding=not training,
            dynamic_axes={"images": {0: "N"}}, input_names=["images"], opset_version=opset,
        )  # fmt: skip
    return gpucnn.load_onnx(path)


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
def test_the_answers_are_pytorchs(net: Any, opset: int, tmp_path: Path) -> None:
    images = torch.rand(5, 3, 16, 16)  # another batch than the exporter saw
    model = exported(net, tmp_path / "net.onnx", opset, training=False)
    with torch.no_grad():
        expected = copy.deepcopy(net).eval()(images).numpy()
    np.testing.assert_allclose(model(images.numpy()).array, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 18])
def test_the_paths_and_the_training_are_pytorchs(net: Any, opset: int, tmp_path: Path) -> None:
    model = exported(net, tmp_path / "net.onnx", opset, training=True)
    own = {path: array.shape for path, array in model.state_dict().items()}
    theirs = {path: tuple(array.shape) for path, array in net.state_dict().items() if not path.endswith("_tracked")}
    assert own == theirs
    net = copy.deepcopy(net)
    # As it was when it was written: tracing had moved its statistics.
    state = {path: torch.from_numpy(array) for path, array in model.state_dict().items()}
    net.load_state_dict(state, strict=False)
    net.drop.p = model.drop.p = 0.0
    images, labels = torch.rand(5, 3, 16, 16), np.arange(5)
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.05, momentum=0.9)
    stepper = optim.SGD(model.train().parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        loss = nn.functional.cross_entropy(net(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = F.cross_entropy(model(images.numpy()), labels)
        stepper.zero_grad()
        found.backward()
        stepper.step()
        assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    with torch.no_grad():
        expected = net.eval()(images).numpy()
    np.testing.assert_allclose(model.eval()(images.numpy()).array, expected, rtol=1e-3, atol=1e-5)
    variance = model.state_dict()["blocks.1.bn2.running_var"]
    np.testing.assert_allclose(variance, net.blocks[1].bn2.running_var.numpy(), rtol=1e-4)
