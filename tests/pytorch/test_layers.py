"""Every layer against PyTorch's: outputs, the input's and every parameter's gradient, running statistics, and its state's names.

Arguments are drawn from fixed seeds, some left at their defaults. Both layers load the same random state under PyTorch's
names, and are called several times in a row where calls leave traces.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.autograd import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
    Agree,
    Arguments,
    compare_layer,
    draw_shape,
    drawn,
    exact_hardsigmoid,
    in_both_dtypes,
    integer,
    pair,
    run_both,
)
from tests.pytorch.counterparts import EXEMPT, public_layers, public_names  # noqa: E402
from tests.pytorch.draws import (  # noqa: E402
    draw_activation_input,
    draw_avg_pool2d,
    draw_conv2d,
    draw_max_pool2d,
    draw_softplus,
    int_if_equal,
)

nn = torch.nn


class Drawn(NamedTuple):
    """A layer, PyTorch's of the same arguments, and the inputs to call both with, one after the other."""

    layer: layers.Layer
    module: Any
    inputs: list[np.ndarray]
    tolerance: float | None = None


def some(rng: np.random.Generator, arguments: Arguments) -> Arguments:
    """Each of `arguments` in two of three draws: the others stay at their defaults."""
    return {name: value for name, value in arguments.items() if rng.random() < 0.67}


# Convolution and the fully connected layer


def draw_conv(seed: int) -> Drawn:
    arguments, [images, filters, *bias] = draw_conv2d(seed)
    rng = np.random.default_rng([seed, 2])
    arguments["bias"] = bool(bias)
    sizes = (images.shape[1], len(filters), int_if_equal(filters.shape[2:]))
    if seed % 3 == 0:
        arguments.update(padding="same", stride=1)
    elif seed % 7 == 0:
        arguments["padding"] = "valid"
        room = [d * (k - 1) for d, k in zip(np.broadcast_to(arguments["dilation"], 2), filters.shape[2:], strict=True)]
        images = rng.standard_normal((2, images.shape[1], room[0] + 3, room[1] + 2))
    module = nn.Conv2d(*sizes, **arguments)
    if seed % 4 == 1:
        return Drawn(layers.Conv2d(*sizes, **arguments, activation="relu"), WithReLU(module), [images])
    return Drawn(layers.Conv2d(*sizes, **arguments), module, [images, images[::-1]])


class WithReLU(nn.Module):
    """A module and a ReLU behind it, with the module's own state."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.inner = module
        self.state_dict, self.load_state_dict = module.state_dict, module.load_state_dict
        self.named_parameters, self.named_buffers = module.named_parameters, module.named_buffers

    def forward(self, x: Any) -> Any:
        return torch.relu(self.inner(x))


def draw_conv_transpose(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    groups = integer(rng, 1, 3)
    kernel, stride, dilation = pair(rng, 1, 3), pair(rng, 1, 3), pair(rng, 1, 3)
    padding = tuple(integer(rng, 0, dilation[axis] * (kernel[axis] - 1) // 2) for axis in (0, 1))
    extra = tuple(integer(rng, 0, max(stride[axis], dilation[axis]) - 1) for axis in (0, 1))
    arguments = {
        "stride": int_if_equal(stride),
        "padding": int_if_equal(padding),
        "output_padding": int_if_equal(extra),
        "groups": groups,
        "bias": bool(seed % 3),
        "dilation": int_if_equal(dilation),
    }
    sizes = (groups * integer(rng, 1, 3), groups * integer(rng, 1, 3), int_if_equal(kernel))
    images = rng.standard_normal((integer(rng, 1, 3), sizes[0], *pair(rng, 2, 4)))
    return Drawn(layers.ConvTranspose2d(*sizes, **arguments), nn.ConvTranspose2d(*sizes, **arguments), [images])


def draw_linear(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    sizes = pair(rng, 1, 12)
    arguments = some(rng, {"bias": False})
    inputs = [rng.standard_normal((integer(rng, 1, 9), sizes[0])) for _ in range(integer(rng, 1, 2))]
    module = nn.Linear(*sizes, **arguments)
    if seed % 4 == 1:
        return Drawn(layers.Linear(*sizes, **arguments, activation="relu"), WithReLU(module), inputs)
    return Drawn(layers.Linear(*sizes, **arguments), module, inputs)


# Pooling


def draw_max_pool(seed: int) -> Drawn:
    arguments, inputs = draw_max_pool2d(seed)
    return Drawn(layers.MaxPool2d(**arguments), nn.MaxPool2d(**arguments), inputs)


def draw_avg_pool(seed: int) -> Drawn:
    arguments, inputs = draw_avg_pool2d(seed)
    return Drawn(layers.AvgPool2d(**arguments), nn.AvgPool2d(**arguments), inputs)


def draw_adaptive(name: str, axes: int = 2) -> Callable[[int], Drawn]:
    def draw(seed: int) -> Drawn:
        """Fewer cells than pixels, as many, or more; values with ties for every other seed."""
        rng = np.random.default_rng(seed)
        size: Any = int_if_equal(pair(rng, 1, 5)) if axes == 2 else integer(rng, 1, 5)
        shape = (*pair(rng, 1, 3), *pair(rng, 1, 8)[:axes])
        if seed % 5 == 4 and axes == 2:
            size = (None, integer(rng, 1, 5))
        images = rng.integers(-2, 3, shape).astype(float) if seed % 2 else rng.standard_normal(shape)
        return Drawn(getattr(layers, name)(size), getattr(nn, name)(size), [images])

    return draw


# Normalisation, over at least six values each: two alone may be so close that only rounding errors are left

LOOSE = 5e-5
"""A tolerance for float32, where gradients come from sums that nearly cancel."""


def draw_batch_norm(dimensions: int) -> Callable[[int], Drawn]:
    def draw(seed: int) -> Drawn:
        """Three calls in training or evaluation, or in training and then in evaluation."""
        rng = np.random.default_rng(seed)
        channels = integer(rng, 1, 5)
        positions: tuple[int, ...] = pair(rng, 1, 4)
        if dimensions == 1:
            positions = (integer(rng, 1, 5),) if seed % 2 else ()
        arguments = some(
            rng,
            {
                "eps": float(rng.choice([1e-3, 1e-4, 0.1])),
                "momentum": float(rng.choice([0, 0.3, 0.01, 1])) if seed % 3 else None,
                "affine": False,
                "track_running_stats": False,
                "bias": False,
                "scale": False,
            },
        )
        name = f"BatchNorm{dimensions}d"
        layer = getattr(layers, name)(channels, **arguments)
        has_scale = arguments.pop("scale", True)
        module = getattr(nn, name)(channels, **arguments)
        if not has_scale:  # PyTorch has no argument for it
            module.weight = None
        if seed % 4 == 3:
            layer.eval()
            module.eval()
        scale, shift = rng.uniform(0.5, 3), rng.standard_normal()
        inputs = [rng.standard_normal((integer(rng, 6, 9), channels, *positions)) * scale + shift for _ in range(3)]
        return Drawn(layer, module, inputs, LOOSE)

    return draw


def draw_layer_norm(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    ending = (integer(rng, 6, 9), *(integer(rng, 1, 4) for _ in range(integer(rng, 0, 2))))
    given = ending[0] if len(ending) == 1 and seed % 2 else ending
    arguments = some(rng, {"eps": float(rng.choice([1e-3, 0.1])), "affine": False, "bias": False})
    layer = layers.LayerNorm(given, **arguments)
    if "affine" in arguments:
        arguments["elementwise_affine"] = arguments.pop("affine")
    values = rng.standard_normal((*draw_shape(rng, most=2), *ending)) * 2 + 0.5
    return Drawn(layer, nn.LayerNorm(given, **arguments), [values], LOOSE)


def draw_group_norm(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    groups, positions = integer(rng, 1, 4), draw_shape(rng, least=0, most=2)
    size = integer(rng, 1, 3) * (1 if np.prod(positions) >= 6 else 6)
    arguments = some(rng, {"eps": float(rng.choice([1e-3, 0.1])), "affine": False, "bias": False})
    sizes = (groups, groups * size)
    values = rng.standard_normal((integer(rng, 1, 4), sizes[1], *positions)) * 2 + 0.5
    return Drawn(layers.GroupNorm(*sizes, **arguments), nn.GroupNorm(*sizes, **arguments), [values], LOOSE)


def draw_instance_norm(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    channels = integer(rng, 1, 4)
    arguments = some(rng, {"eps": float(rng.choice([1e-3, 0.1])), "affine": True, "bias": False})
    values = rng.standard_normal((integer(rng, 1, 4), channels, *pair(rng, 3, 6))) * 2 + 0.5
    return Drawn(
        layers.InstanceNorm2d(channels, **arguments), nn.InstanceNorm2d(channels, **arguments), [values], LOOSE
    )


def draw_local_response_norm(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    size = integer(rng, 1, 6)
    arguments = some(rng, {name: float(rng.uniform(0.1, 2)) for name in ("alpha", "beta", "k")})
    values = rng.standard_normal((*pair(rng, 1, 7), *draw_shape(rng, most=2))) * 2
    return Drawn(layers.LocalResponseNorm(size, **arguments), nn.LocalResponseNorm(size, **arguments), [values])


# Activations


def draw_activation(
    name: str, draw_arguments: Callable[[np.random.Generator], Arguments] = lambda rng: {}
) -> Callable[[int], Drawn]:
    def draw(seed: int) -> Drawn:
        rng = np.random.default_rng(seed)
        arguments = some(rng, draw_arguments(rng))
        shape = draw_shape(rng, least=2)
        if name == "PReLU" and "num_parameters" in arguments:
            arguments["num_parameters"] = shape[1]
        values = draw_activation_input(rng, seed, shape, infinite=False)
        return Drawn(getattr(layers, name)(**arguments), getattr(nn, name)(**arguments), [values])

    return draw


def draw_softmax(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=2)
    axis = integer(rng, -len(shape), len(shape) - 1)
    values = rng.standard_normal(shape) * rng.choice([1, 1000])
    return Drawn(layers.Softmax() if axis == 1 else layers.Softmax(axis), nn.Softmax(axis), [values])


# Dropout that drops nothing, shapes, and layers in a row


def draw_dropout(name: str) -> Callable[[int], Drawn]:
    def draw(seed: int) -> Drawn:
        """In evaluation, or with a share of 0."""
        rng = np.random.default_rng(seed)
        p = float(rng.uniform(0, 0.9)) if seed % 2 else 0.0
        layer, module = getattr(layers, name)(p), getattr(nn, name)(p)
        if p:
            layer.eval()
            module.eval()
        return Drawn(layer, module, [rng.standard_normal((*pair(rng, 1, 4), *pair(rng, 1, 4)))])

    return draw


def draw_flatten(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    return Drawn(layers.Flatten(), nn.Flatten(), [rng.standard_normal(draw_shape(rng, least=2))])


def draw_identity(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    return Drawn(layers.Identity(), nn.Identity(), [rng.standard_normal(draw_shape(rng, least=2))])


def draw_sequential(seed: int) -> Drawn:
    """A small network in training, in half of the draws with a network within; ReLUs that are fused and such that are not."""
    rng = np.random.default_rng(seed)
    channels, filters, size = integer(rng, 1, 3), integer(rng, 2, 4), 2 * integer(rng, 2, 4)

    def build(kind: Any) -> Any:
        choices = np.random.default_rng([seed, 2])
        normalized = bool(choices.integers(2))
        # No bias where a batch normalisation takes it away again: its gradient would be rounding errors alone.
        body = [kind.Conv2d(channels, filters, 3, padding=1, bias=not normalized)]
        body += [kind.BatchNorm2d(filters)] * normalized
        body += [kind.ReLU(), [kind.MaxPool2d(2), kind.AvgPool2d(2)][choices.integers(2)]]
        head = [kind.Flatten(), kind.Linear(filters * (size // 2) ** 2, 5)]
        head += [kind.ReLU(), kind.Linear(5, 3)] * int(choices.integers(2))
        return kind.Sequential(kind.Sequential(*body), *head) if choices.integers(2) else kind.Sequential(*body, *head)

    inputs = [rng.standard_normal((4, channels, size, size)) for _ in range(3)]
    return Drawn(build(layers), build(nn), inputs, LOOSE)


# Containers, and layers put together of others


class Joined(nn.Module):
    """PyTorch's modules by name, and a function of them and the input."""

    def __init__(self, forward: Callable[..., Any], **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.join = forward

    def forward(self, x: Any) -> Any:
        return self.join(self, x)


def draw_block(rng: np.random.Generator, channels: int, filters: int, stride: int = 1) -> tuple[layers.Layer, Any]:
    """Convolution, batch norm, ReLU and a second convolution."""
    first, second = (channels, 3, 3, stride, 1), (3, filters, int(rng.choice([1, 3])), 1)
    padding = second[2] // 2

    def build(kind: Any) -> Any:
        # No bias where the batch normalisation takes it away again: its gradient would be rounding errors alone.
        start = [kind.Conv2d(*first, bias=False), kind.BatchNorm2d(3), kind.ReLU()]
        return kind.Sequential(*start, kind.Conv2d(*second, padding))

    return build(layers), build(nn)


def draw_images(rng: np.random.Generator, channels: int) -> list[np.ndarray]:
    return [rng.standard_normal((integer(rng, 2, 4), channels, *pair(rng, 3, 7))) for _ in range(2)]


def draw_residual(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    channels = integer(rng, 1, 4)
    if seed % 2:
        ours, theirs = draw_block(rng, channels, channels)
        module = Joined(lambda m, x: x + m.block(x), block=theirs)
        return Drawn(layers.Residual(ours), module, draw_images(rng, channels), LOOSE)
    filters, stride = pair(rng, 1, 3)
    ours, theirs = draw_block(rng, channels, filters, stride)
    module = Joined(
        lambda m, x: m.block(x) + m.shortcut(x), block=theirs, shortcut=nn.Conv2d(channels, filters, 1, stride)
    )
    return Drawn(
        layers.Residual(ours, layers.Conv2d(channels, filters, 1, stride)), module, draw_images(rng, channels), LOOSE
    )


def draw_branches(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    channels = integer(rng, 1, 4)
    pairs = [draw_block(rng, channels, integer(rng, 1, 3)) for _ in range(integer(rng, 1, 3))]
    module = Joined(
        lambda m, x: torch.cat([branch(x) for branch in m.children()], 1),
        **{str(number): theirs for number, (_, theirs) in enumerate(pairs)},
    )
    return Drawn(layers.Branches(*(ours for ours, _ in pairs)), module, draw_images(rng, channels), LOOSE)


def draw_checkpoint(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    channels = integer(rng, 1, 4)
    ours, theirs = draw_block(rng, channels, integer(rng, 1, 3))
    return Drawn(
        layers.Checkpoint(ours), Joined(lambda m, x: m.block(x), block=theirs), draw_images(rng, channels), LOOSE
    )


def draw_lambda(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    factor, step = float(rng.uniform(-2, 2)), integer(rng, 1, 3)

    def function(x: Any) -> Any:
        return x[:, ::step] * factor + 1.0

    return Drawn(layers.Lambda(function), Joined(lambda _, x: function(x)), draw_images(rng, 4))


def draw_separable(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    channels, filters, multiplier = (integer(rng, 1, 3) for _ in range(3))
    kernel, padding, dilation = pair(rng, 1, 3), pair(rng, 0, 2), pair(rng, 1, 2)
    options = {"stride": pair(rng, 1, 3), "padding": padding, "dilation": dilation}
    bias = bool(rng.integers(2))
    module = Joined(
        lambda m, x: m.pointwise(m.depthwise(x)),
        depthwise=nn.Conv2d(channels, channels * multiplier, kernel, groups=channels, bias=False, **options),
        pointwise=nn.Conv2d(channels * multiplier, filters, 1, bias=bias),
    )
    ours = layers.SeparableConv2d(channels, filters, kernel, depth_multiplier=multiplier, bias=bias, **options)
    images = rng.standard_normal((integer(rng, 1, 3), channels, *pair(rng, 5, 9)))
    return Drawn(ours, module, [images])


# Sequences


def draw_conv1d(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    groups, channels, filters = (integer(rng, 1, 3) for _ in range(3))
    kernel, dilation, stride = integer(rng, 1, 4), integer(rng, 1, 3), integer(rng, 1, 3)
    padding = ("same", "valid", integer(rng, 0, 3))[seed % 3]
    arguments = {"stride": 1 if padding == "same" else stride, "padding": padding, "dilation": dilation}
    arguments |= {"groups": groups, "bias": bool(rng.integers(2))}
    sizes = (groups * channels, groups * filters, kernel)
    sequences = rng.standard_normal((integer(rng, 1, 3), sizes[0], dilation * (kernel - 1) + integer(rng, 1, 6)))
    return Drawn(layers.Conv1d(*sizes, **arguments), nn.Conv1d(*sizes, **arguments), [sequences])


def draw_max_pool1d(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    kernel, dilation = integer(rng, 1, 4), integer(rng, 1, 3)
    arguments = some(
        rng,
        {"stride": integer(rng, 1, 4), "padding": integer(rng, 0, kernel // 2), "ceil_mode": bool(rng.integers(2))},
    )
    arguments["dilation"] = dilation
    sequences = rng.integers(
        -3, 4, (integer(rng, 1, 3), integer(rng, 1, 3), dilation * (kernel - 1) + integer(rng, 1, 6))
    )
    return Drawn(layers.MaxPool1d(kernel, **arguments), nn.MaxPool1d(kernel, **arguments), [sequences.astype(float)])


def draw_avg_pool1d(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    kernel = integer(rng, 1, 4)
    arguments = {"stride": integer(rng, 1, 4), "padding": integer(rng, 0, kernel // 2)}
    arguments = some(rng, {**arguments, "ceil_mode": bool(rng.integers(2)), "count_include_pad": False})
    sequences = rng.standard_normal((integer(rng, 1, 3), integer(rng, 1, 3), kernel + integer(rng, 0, 6)))
    return Drawn(layers.AvgPool1d(kernel, **arguments), nn.AvgPool1d(kernel, **arguments), [sequences])


LAYERS: dict[str, Callable[[int], Drawn]] = {
    "Conv2d": draw_conv,
    "ConvTranspose2d": draw_conv_transpose,
    "Linear": draw_linear,
    "MaxPool2d": draw_max_pool,
    "AvgPool2d": draw_avg_pool,
    "AdaptiveAvgPool2d": draw_adaptive("AdaptiveAvgPool2d"),
    "AdaptiveMaxPool2d": draw_adaptive("AdaptiveMaxPool2d"),
    "BatchNorm1d": draw_batch_norm(1),
    "BatchNorm2d": draw_batch_norm(2),
    "LayerNorm": draw_layer_norm,
    "GroupNorm": draw_group_norm,
    "InstanceNorm2d": draw_instance_norm,
    "LocalResponseNorm": draw_local_response_norm,
    "ReLU": draw_activation("ReLU"),
    "ReLU6": draw_activation("ReLU6"),
    "LeakyReLU": draw_activation("LeakyReLU", lambda rng: {"negative_slope": float(rng.uniform(0, 1))}),
    "PReLU": draw_activation("PReLU", lambda rng: {"num_parameters": 0, "init": float(rng.choice([-0.5, 0, 0.125]))}),
    "Hardsigmoid": draw_activation("Hardsigmoid"),
    "Hardswish": draw_activation("Hardswish"),
    "Sigmoid": draw_activation("Sigmoid"),
    "Tanh": draw_activation("Tanh"),
    "Softplus": draw_activation("Softplus", draw_softplus),
    "ELU": draw_activation("ELU", lambda rng: {"alpha": float(rng.uniform(0.1, 2))}),
    "SELU": draw_activation("SELU"),
    "GELU": draw_activation("GELU", lambda rng: {"approximate": str(rng.choice(["none", "tanh"]))}),
    "SiLU": draw_activation("SiLU"),
    "Mish": draw_activation("Mish"),
    "Softmax": draw_softmax,
    "Dropout": draw_dropout("Dropout"),
    "Dropout2d": draw_dropout("Dropout2d"),
    "Flatten": draw_flatten,
    "Identity": draw_identity,
    "Sequential": draw_sequential,
    "Residual": draw_residual,
    "Branches": draw_branches,
    "Checkpoint": draw_checkpoint,
    "Lambda": draw_lambda,
    "SeparableConv2d": draw_separable,
    "Conv1d": draw_conv1d,
    "MaxPool1d": draw_max_pool1d,
    "AvgPool1d": draw_avg_pool1d,
    "AdaptiveAvgPool1d": draw_adaptive("AdaptiveAvgPool1d", 1),
    "AdaptiveMaxPool1d": draw_adaptive("AdaptiveMaxPool1d", 1),
}
CONVOLUTIONS = layers.Conv1d | layers.Conv2d | layers.ConvTranspose2d | layers.Linear
MADE_OF_LAYERS = {"Sequential", "Residual", "Branches", "Checkpoint", "SeparableConv2d"}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's own, about its speed
@pytest.mark.parametrize("name", LAYERS)
@drawn
@in_both_dtypes
def test_layer(agree: Agree, name: str, seed: int, dtype: str) -> None:
    layer, module, inputs, tolerance = LAYERS[name](seed)
    theirs = exact_hardsigmoid if name == "Hardsigmoid" and dtype == "float64" else module
    loose = tolerance if dtype == "float32" else None
    compare_layer(agree, name, seed, dtype, layer, module, theirs, inputs, loose)


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d"])
@drawn
@in_both_dtypes
def test_dropout_in_training(agree: Agree, name: str, seed: int, dtype: str) -> None:
    """PyTorch draws other masks, so it is given ours: the factors that ones come out with."""
    rng = np.random.default_rng([seed, 1])
    layer = getattr(layers, name)(float(rng.uniform(0.05, 0.9)))
    shape = (*pair(rng, 1, 5), *pair(rng, 1, 4))
    layer.seed, layer.calls = seed, integer(rng, 0, 3)
    calls = layer.calls
    factors = torch.tensor(layer(Tensor(np.ones(shape, dtype))).numpy())
    if name == "Dropout2d":
        assert (factors == factors[:, :, :1, :1]).all()
    layer.calls = calls
    values = rng.standard_normal(shape).astype(dtype)
    agree(f"{name} in training", seed, run_both(rng, layer, lambda x: x * factors, [values], [True]))


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in MADE_OF_LAYERS])
def test_initial_state_and_defaults(name: str) -> None:
    """Parameters and buffers that are constant at the start are PyTorch's; weights of convolutions are He's, and drawn."""
    layer, module = LAYERS[name](1)[:2]
    for path, value in module.state_dict().items():
        if path in layer.state_dict() and not isinstance(layer, CONVOLUTIONS):
            np.testing.assert_array_equal(layer.state_dict()[path], value.numpy(), path)


def test_every_layer_is_compared() -> None:
    missing = sorted(public_layers() - LAYERS.keys() - EXEMPT.keys())
    assert not missing, (
        f"{', '.join(missing)}: draw configurations of it in LAYERS of tests/pytorch/test_layers.py, or, if PyTorch has no "
        f"such layer, name it with the reason in EXEMPT of tests/pytorch/counterparts.py"
    )
    assert LAYERS.keys() <= public_layers()


def test_what_is_exempt_is_public_and_not_compared() -> None:
    assert EXEMPT.keys() <= public_names() - LAYERS.keys()


def test_drawn_configurations_see_training_and_evaluation_and_every_argument() -> None:
    """Each argument of batch normalisation and convolution at its default and off it."""
    for name, arguments in (
        ("BatchNorm1d", {"eps": 1e-5, "momentum": 0.1, "training": True}),
        ("BatchNorm2d", {"eps": 1e-5, "momentum": 0.1, "training": True}),
        ("Conv2d", {"stride": 1, "dilation": 1, "groups": 1, "activation": None}),
        ("ConvTranspose2d", {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}),
    ):
        built = [LAYERS[name](seed).layer for seed in range(40)]
        for argument, default in arguments.items():
            at_default = sum(getattr(layer, argument) == default for layer in built)
            assert 3 <= at_default <= 37, f"{name}: {argument}"
        state = "bias" if "Conv" in name else "weight"
        assert 3 <= sum(getattr(layer, state) is None for layer in built) <= 37, name
    paddings = [LAYERS["Conv2d"](seed).layer.padding for seed in range(40)]
    assert paddings.count("same") >= 8
    assert paddings.count("valid") >= 3
    assert sum(isinstance(padding, int) for padding in paddings) >= 3
    assert sum(isinstance(padding, tuple) for padding in paddings) >= 8
