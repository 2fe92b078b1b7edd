"""Models for images of 32x32 against PyTorch's functions, written down as their papers draw them, on the same state."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import layers, models

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
TF = torch.nn.functional

Agree = Callable[..., None]


class Network:
    """PyTorch's functions with parameters by path, out of a state dict."""

    def __init__(self, state: dict[str, np.ndarray], learned: set[str], training: bool) -> None:
        self.state = {path: torch.tensor(array, requires_grad=path in learned) for path, array in state.items()}
        self.training = training

    def conv(self, path: str, x: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        return TF.conv2d(x, self.state[f"{path}.weight"], self.state.get(f"{path}.bias"), stride, padding)

    def norm_relu(self, path: str, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(path, x))

    def norm(self, path: str, x: torch.Tensor) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return TF.batch_norm(x, *(self.state[f"{path}.{name}"] for name in names), self.training)

    def linear(self, path: str, x: torch.Tensor) -> torch.Tensor:
        return TF.linear(x, self.state[f"{path}.weight"], self.state.get(f"{path}.bias"))


def alexnet(net: Network, x: torch.Tensor) -> torch.Tensor:
    x = TF.max_pool2d(torch.relu(net.conv("features.0", x, 4, 5)), 2)
    x = TF.max_pool2d(torch.relu(net.conv("features.3", x, 1, 2)), 2)
    for index in (6, 8, 10):
        x = torch.relu(net.conv(f"features.{index}", x, 1, 1))
    return net.linear("classifier", TF.max_pool2d(x, 2).flatten(1))


def nin(net: Network, x: torch.Tensor) -> torch.Tensor:
    for path, padding in ((0, 2), (2, 0), (4, 0)):
        x = torch.relu(net.conv(f"features.{path}", x, 1, padding))
    x = TF.max_pool2d(x, 3, 2, ceil_mode=True)
    for path, padding in ((8, 2), (10, 0), (12, 0)):
        x = torch.relu(net.conv(f"features.{path}", x, 1, padding))
    x = TF.avg_pool2d(x, 3, 2, ceil_mode=True)
    x = torch.relu(net.conv("features.16", x, 1, 1))
    x = net.conv("features.20", torch.relu(net.conv("features.18", x)))
    return x.mean((2, 3))


def vgg_bn(net: Network, x: torch.Tensor) -> torch.Tensor:
    """VGG-mini, whose convolutions stand in the order of VGG's."""
    for path in (0, 3, None, 7, 10, None):
        if path is None:
            x = TF.max_pool2d(x, 2)
        else:
            x = net.norm_relu(f"features.{path + 1}", net.conv(f"features.{path}", x, 1, 1))
    return net.linear("classifier.4", net.norm_relu("classifier.2", net.linear("classifier.1", x.flatten(1))))


def resnet20(net: Network, x: torch.Tensor) -> torch.Tensor:
    x = net.norm_relu("bn1", net.conv("conv1", x, 1, 1))
    for stage in (1, 2, 3):
        for block in range(3):
            path, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            y = net.norm_relu(f"{path}.bn1", net.conv(f"{path}.conv1", x, stride, 1))
            y = net.norm(f"{path}.bn2", net.conv(f"{path}.conv2", y, 1, 1))
            new = y.shape[1] - x.shape[1]
            x = torch.relu(y + TF.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, new // 2, new // 2)))
    return net.linear("fc", x.mean((2, 3)))


def wide_resnet(net: Network, x: torch.Tensor) -> torch.Tensor:
    x = net.conv("conv1", x, 1, 1)
    for stage in (1, 2, 3):
        for block in (0, 1):
            path, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            active = net.norm_relu(f"{path}.bn1", x)
            y = net.norm_relu(f"{path}.bn2", net.conv(f"{path}.conv1", active, stride, 1))
            x = net.conv(f"{path}.conv2", y, 1, 1) + (x if block else net.conv(f"{path}.downsample", active, stride))
    return net.linear("fc", net.norm_relu("bn", x).mean((2, 3)))


def densenet(net: Network, x: torch.Tensor) -> torch.Tensor:
    x = net.conv("conv", x, 1, 1)
    for block in (1, 2, 3):
        for index in range(12):
            path = f"block{block}.{index}"
            x = torch.cat([x, net.conv(f"{path}.conv", net.norm_relu(f"{path}.norm", x), 1, 1)], 1)
        if block < 3:
            path = f"transition{block}"
            x = TF.avg_pool2d(net.conv(f"{path}.conv", net.norm_relu(f"{path}.norm", x)), 2)
    return net.linear("classifier", net.norm_relu("norm", x).mean((2, 3)))


def unet(net: Network, x: torch.Tensor) -> torch.Tensor:
    def two(path: str, x: torch.Tensor) -> torch.Tensor:
        x = net.norm_relu(f"{path}.1", net.conv(f"{path}.0", x, 1, 1))
        return net.norm_relu(f"{path}.4", net.conv(f"{path}.3", x, 1, 1))

    levels = []
    for level in (1, 2, 3):
        levels.append(two(f"down{level}", x))
        x = TF.max_pool2d(levels[-1], 2)
    x = two("bottom", x)
    for level in (3, 2, 1):
        up = TF.conv_transpose2d(x, net.state[f"up{level}.weight"], net.state[f"up{level}.bias"], 2)
        x = two(f"join{level}", torch.cat([levels.pop(), up], 1))
    return net.conv("head", x)


NETWORKS = {
    "alexnet": alexnet, "nin": nin, "vgg_mini": vgg_bn, "resnet20": resnet20, "wide_resnet16_4": wide_resnet,
    "densenet40_12": densenet, "unet": unet,
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_gradients_and_statistics(agree: Agree, name: str, training: bool, rng: np.random.Generator) -> None:
    model = models.create(name, 10, image_size=32, seed=1).astype("float64")
    state = {
        path: rng.uniform(0.5, 1.5, array.shape) if array.ndim == 1 else array
        for path, array in model.state_dict().items()
    }
    model.load_state_dict(state)
    for _, layer in model.named_layers():
        layer.training = training
        if isinstance(layer, layers.Dropout):
            layer.p = 0.0
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    net = Network(state, set(parameters), training)

    images = rng.standard_normal((2, 3, 32, 32))
    output, expected = model(images), NETWORKS[name](net, torch.tensor(images))
    incoming = rng.standard_normal(output.shape)
    output.backward(incoming)
    expected.backward(torch.tensor(incoming))
    agree(
        f"{name}, {'training' if training else 'evaluation'}",
        0,
        {
            "output": (output.numpy(), expected.detach().numpy()),
            **{f"{path} gradient": (p.grad, net.state[path].grad.numpy()) for path, p in parameters.items()},
            **{path: (buffer.data, net.state[path].numpy()) for path, buffer in buffers.items()},
        },
    )
