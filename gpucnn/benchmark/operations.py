"""Single operations: forward and backward pass of each, ours and PyTorch's on equal arrays."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Device, generator, to_device, to_host
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.limit import ITEM, Work
from gpucnn.benchmark.rivals import CHANNELS_LAST, Rival, computing
from gpucnn.checks import Shape
from gpucnn.layers import Parameter
from gpucnn.layers.initialization import zeros
from gpucnn.optim import SGD

CLASSES = 10
UPDATED = 524_288
"""Parameters of the optimizer's step."""

Arrays: TypeAlias = dict[str, np.ndarray]


class TimedOperation(NamedTuple):
    """A differentiable function of some arrays of random numbers."""

    name: str
    shapes: Sequence[Shape]
    """Of its arguments."""
    ours: Callable[..., Tensor]
    theirs: Callable[..., Any]
    output_size: int
    multiply_adds: int = 0
    needs_inputs: bool = True
    """Whether the gradient depends on what the arguments were; else it is enough to remember some bits of them."""
    first_layer: bool = False
    """Whether its images are the data: they need no gradient."""
    labelled: bool = False
    """Whether a last argument are labels, one for each row of the first."""

    def forward_work(self) -> Work:
        """Every argument is read, and the output written."""
        return Work(self.multiply_adds, ITEM * (self._input_size + self.output_size))

    def backward_work(self) -> Work:
        """The output's gradient is read, those of the arguments written, and the arguments read again where need be."""
        gradients = self._input_size - (math.prod(self.shapes[0]) if self.first_layer else 0)
        read = self.output_size + (self._input_size if self.needs_inputs else 0)
        return Work(self.multiply_adds * (1 if self.first_layer else 2), ITEM * (read + gradients))

    @property
    def _input_size(self) -> int:
        return sum(map(math.prod, self.shapes))


class Prepared(NamedTuple):
    """An operation on its arrays: what to time, and what comes out."""

    forward: Callable[[], object]
    backward: Callable[[], object]
    results: Arrays


class _Convolution(NamedTuple):
    in_channels: int
    out_channels: int
    kernel: int
    size: int
    padding: int = 1
    stride: int = 1


CONVOLUTIONS = (
    _Convolution(32, 32, 3, 32), _Convolution(64, 64, 3, 16), _Convolution(32, 64, 3, 16), _Convolution(3, 32, 3, 32),
    _Convolution(16, 16, 3, 32), _Convolution(16, 32, 3, 32, stride=2), _Convolution(64, 64, 3, 8),
    _Convolution(1, 8, 3, 28), _Convolution(8, 16, 3, 14), _Convolution(1, 6, 5, 28, padding=2),
    _Convolution(6, 16, 5, 14, padding=0),
)  # fmt: skip
"""The shapes of LeNet-5, the chapter's networks, VGG-mini and ResNet-20."""


def operations(batch: int) -> list[TimedOperation]:
    """The operations that are measured, on `batch` images."""
    found = [_convolution(batch, one) for one in CONVOLUTIONS]
    maps = (batch, 32, 32, 32)
    size = math.prod(maps)
    found.append(
        TimedOperation(
            f"max pool 2x2 @32 {batch}", [maps], lambda x: F.max_pool2d(x, 2), _torch_function("max_pool2d", 2), size // 4,
            needs_inputs=False,
        )
    )  # fmt: skip
    found.append(
        TimedOperation(f"relu 32 @32 {batch}", [maps], F.relu, _torch_function("relu"), size, needs_inputs=False)
    )
    for channels, side in ((16, 32), (64, 8)):
        shape = (batch, channels, side, side)
        found.append(
            TimedOperation(
                f"batch norm {channels} @{side} {batch}", [shape, (channels,), (channels,)],
                lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True),
                lambda x, weight, bias: pytorch.torch().nn.functional.batch_norm(x, None, None, weight, bias, training=True),
                math.prod(shape),
            )
        )  # fmt: skip
    inputs, outputs = 4096, 128
    found.append(
        TimedOperation(
            f"linear {inputs}>{outputs} {batch}", [(batch, inputs), (outputs, inputs), (outputs,)], F.linear,
            _torch_function("linear"), batch * outputs, batch * inputs * outputs,
        )
    )  # fmt: skip
    logits = (batch, CLASSES)
    found.append(
        TimedOperation(
            f"cross-entropy {CLASSES} {batch}", [logits], F.cross_entropy, _torch_function("cross_entropy"), 1, labelled=True
        )
    )  # fmt: skip
    return found


def prepare(rival: Rival, operation: TimedOperation, device: Device) -> Prepared:
    """The operation on `device`, as `rival` computes it, always on the same numbers."""
    arrays = [
        generator(0, f"benchmark argument {number}").standard_normal(shape, np.float32)
        / (1 if number == 0 else math.sqrt(math.prod(shape[1:])))
        for number, shape in enumerate(operation.shapes)
    ]
    labels = generator(0, "benchmark labels").integers(0, CLASSES, len(arrays[0])) if operation.labelled else None
    return (_prepare_ours if rival.ours else _prepare_theirs)(rival, operation, device, arrays, labels)


def sgd_step(rival: Rival, device: Device) -> Callable[[], object]:
    """A step of SGD with momentum on UPDATED parameters."""
    values, gradient = (generator(0, f"benchmark {name}").standard_normal(UPDATED, np.float32) for name in "vg")
    if not rival.ours:
        torch = pytorch.torch()
        tensor = pytorch.on_device(values, device).requires_grad_()
        tensor.grad = pytorch.on_device(gradient, device)
        step: Callable[[], object] = torch.optim.SGD([tensor], 1e-6, 0.9, fused=rival.variant == CHANNELS_LAST).step
        return step
    parameter = Parameter((UPDATED,), zeros)
    parameter.data = values
    parameter.move(device)
    parameter.grad = to_device(gradient, device)
    return computing(rival, SGD([parameter], 1e-6, 0.9).step)


def sgd_work() -> Work:
    """Parameters, gradients and momentum are read, and the first and the last written."""
    return Work(0, 5 * ITEM * UPDATED)


def _convolution(batch: int, shape: _Convolution) -> TimedOperation:
    inputs, outputs, kernel, size, padding, stride = shape
    output = (size + 2 * padding - kernel) // stride + 1
    weight = (outputs, inputs, kernel, kernel)
    name = f"conv {inputs}>{outputs} {kernel}x{kernel}{f'/{stride}' if stride > 1 else ''} @{size} {batch}"
    return TimedOperation(
        name,
        [(batch, inputs, size, size), weight, (outputs,)],
        functools.partial(F.conv2d, stride=stride, padding=padding),
        _torch_function("conv2d", stride=stride, padding=padding),
        batch * outputs * output * output,
        batch * output * output * math.prod(weight),
        first_layer=inputs <= 3,
    )


def _torch_function(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """PyTorch's function of that name, looked up when it is called: PyTorch need not be there before."""

    def call(*tensors: Any) -> Any:
        return getattr(pytorch.torch().nn.functional, name)(*tensors, *arguments, **options)

    return call


def _prepare_ours(
    rival: Rival, operation: TimedOperation, device: Device, arrays: Sequence[np.ndarray], labels: np.ndarray | None
) -> Prepared:
    tensors = [
        Tensor(to_device(array, device), number > 0 or not operation.first_layer) for number, array in enumerate(arrays)
    ]
    extra = [] if labels is None else [to_device(labels, device)]
    forward = computing(rival, lambda: operation.ours(*tensors, *extra))
    output = forward()
    incoming = to_device(_incoming(output.shape), device)
    node = output.node
    assert node is not None
    assert node.backward is not None
    backward = computing(rival, functools.partial(node.backward, incoming))
    results = {"output": to_host(output.array)}
    for number, gradient in enumerate(backward()):
        if gradient is not None:
            results[f"gradient of argument {number}"] = np.array(to_host(gradient))
    return Prepared(forward, backward, results)


def _prepare_theirs(
    rival: Rival, operation: TimedOperation, device: Device, arrays: Sequence[np.ndarray], labels: np.ndarray | None
) -> Prepared:
    torch = pytorch.torch()
    tensors = [pytorch.on_device(array, device) for array in arrays]
    if rival.variant == CHANNELS_LAST:
        last = torch.channels_last
        tensors = [one.contiguous(memory_format=last) if one.ndim == 4 else one for one in tensors]
    numbers = range(1 if operation.first_layer else 0, len(tensors))
    wanted = [tensors[number].requires_grad_() for number in numbers]
    extra = [] if labels is None else [pytorch.on_device(labels, device)]

    def forward() -> Any:
        return operation.theirs(*tensors, *extra)

    output = forward()
    incoming = pytorch.on_device(_incoming(tuple(output.shape)), device)
    if rival.variant == CHANNELS_LAST and incoming.ndim == 4:
        incoming = incoming.contiguous(memory_format=torch.channels_last)

    def backward() -> Any:
        return torch.autograd.grad(output, wanted, incoming, retain_graph=True)

    results = {"output": pytorch.to_host(output)}
    for number, gradient in zip(numbers, backward(), strict=True):
        results[f"gradient of argument {number}"] = pytorch.to_host(gradient)
    return Prepared(forward, backward, results)


def _incoming(shape: Shape) -> np.ndarray:
    """The gradient of an operation's output."""
    return generator(0, "benchmark gradient").standard_normal(shape, np.float32) if shape else np.ones((), np.float32)
