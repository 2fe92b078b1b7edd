"""A model of ours as a module of PyTorch, with the same weights."""

import functools
from collections.abc import Callable
from typing import Any

from gpucnn.backend import to_host
from gpucnn.benchmark import pytorch
from gpucnn.errors import ArgumentError
from gpucnn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    MaxPoolLayer,
    ReLU,
    Sequential,
)
from gpucnn.models import LeNet5, ResNet20, SimpleCNN, VGGMini
from gpucnn.models.resnet_cifar import CifarBlock, CifarResNet


def counterpart(layer: Layer) -> Any:
    """A torch.nn.Module on the CPU that computes what `layer` does, with copies of its parameters and buffers.

    ReLUs work in place, as in torchvision's models. Raises ArgumentError for a layer that it does not know, or not with
    these arguments.
    """
    convert = _CONVERSIONS.get(type(layer))
    if convert is None:
        names = sorted(kind.__name__ for kind in _CONVERSIONS)
        raise ArgumentError(f"{layer.label}: no counterpart in PyTorch is known; take one of {', '.join(names)}")
    return convert(layer)


def _relu(_: Layer | None = None) -> Any:
    return pytorch.torch().nn.ReLU(inplace=True)


def _even_padding(layer: Conv2d | MaxPool2d) -> tuple[int, int]:
    """(height, width); ArgumentError for what PyTorch has no padding for."""
    (top, bottom), (left, right) = layer.window.padding
    if (top, left) != (bottom, right):
        raise ArgumentError(f"{layer.label}: PyTorch pads both sides alike, got {layer.window.padding}")
    return top, left


def _conv(layer: Conv2d) -> Any:
    module = pytorch.torch().nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.window.kernel,
        layer.window.stride,
        _even_padding(layer),
        layer.window.dilation,
        layer.groups,
        layer.bias is not None,
    )
    return _with_activation(layer, _with_values(module, weight=layer.weight, bias=layer.bias))


def _linear(layer: Linear) -> Any:
    module = pytorch.torch().nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    return _with_activation(layer, _with_values(module, weight=layer.weight, bias=layer.bias))


def _batch_norm(layer: BatchNorm1d | BatchNorm2d) -> Any:
    kind = getattr(pytorch.torch().nn, type(layer).__name__)
    tracked = layer.running_mean is not None
    is_affine = layer.weight is not None or layer.bias is not None
    module = kind(layer.num_features, layer.eps, layer.momentum, is_affine, tracked)
    if layer.weight is None:
        module.weight = None
    if layer.bias is None:
        module.bias = None
    names = ("running_mean", "running_var", "num_batches_tracked")
    statistics = {name: getattr(layer, name) for name in names}
    return _with_values(module, weight=layer.weight, bias=layer.bias, **statistics)


def _max_pool(layer: MaxPool2d) -> Any:
    arguments = (layer.kernel_size, layer.stride, _even_padding(layer), layer.dilation)
    return pytorch.torch().nn.MaxPool2d(*arguments, ceil_mode=layer.ceil_mode)


def _in_order(layer: Layer) -> Any:
    """Of a layer that calls its members one after the other, in the order of their definition."""
    members = [member for path, member in layer.named_layers() if path and "." not in path]
    return pytorch.torch().nn.Sequential(*map(counterpart, members))


def _cifar_block(layer: CifarBlock) -> Any:
    torch = pytorch.torch()
    before = layer.new_channels // 2
    padding = (0, 0, 0, 0, before, layer.new_channels - before)
    changes = layer.stride != 1 or layer.new_channels

    def forward(module: Any, x: Any) -> Any:
        y = module.bn2(module.conv2(module.relu(module.bn1(module.conv1(x)))))
        shortcut = x[:, :, :: layer.stride, :: layer.stride] if changes else x
        return module.relu(y + (torch.nn.functional.pad(shortcut, padding) if changes else shortcut))

    return _module(forward, relu=_relu(), **_members(layer, "conv1", "bn1", "conv2", "bn2"))


def _cifar_resnet(layer: CifarResNet) -> Any:
    def forward(module: Any, x: Any) -> Any:
        x = module.relu(module.bn1(module.conv1(x)))
        x = module.layer3(module.layer2(module.layer1(x)))
        return module.fc(x.mean((2, 3)))

    return _module(forward, relu=_relu(), **_members(layer, "conv1", "bn1", "layer1", "layer2", "layer3", "fc"))


def _members(layer: Layer, *names: str) -> dict[str, Any]:
    return {name: counterpart(getattr(layer, name)) for name in names}


def _module(forward: Callable[..., Any], **members: Any) -> Any:
    module = pytorch.torch().nn.Module()
    for name, member in members.items():
        setattr(module, name, member)
    module.forward = functools.partial(forward, module)
    return module


def _with_activation(layer: Conv2d | Linear, module: Any) -> Any:
    return module if layer.activation is None else pytorch.torch().nn.Sequential(module, _relu())


def _with_values(module: Any, **values: Any) -> Any:
    torch = pytorch.torch()
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                getattr(module, name).copy_(torch.from_numpy(to_host(value.array).copy()))
    return module


_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    Conv2d: _conv,
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    BatchNorm2d: _batch_norm,
    MaxPool2d: _max_pool,
    MaxPoolLayer: _max_pool,
    ReLU: _relu,
    Flatten: lambda _: pytorch.torch().nn.Flatten(),
    Sequential: _in_order,
    LeNet5: _in_order,
    SimpleCNN: _in_order,
    VGGMini: _in_order,
    CifarBlock: _cifar_block,
    ResNet20: _cifar_resnet,
}
