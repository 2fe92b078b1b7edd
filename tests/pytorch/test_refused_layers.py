"""Layers that PyTorch refuses to build or to call: ours are refused too, and say which layer, what it got, and what to do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.errors import GpucnnError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

from tests.pytorch.comparison import Arguments, assert_both_refuse, drawn, integer, ones  # noqa: E402
from tests.pytorch.draws import draw_conv2d, draw_max_pool2d  # noqa: E402

nn = torch.nn


class Refusal(NamedTuple):
    """A class, its arguments, the shape of what to call it with (None: PyTorch cannot even build it), and how our message
    begins. Ours are refused when they are built, where the arguments alone are wrong.
    """

    name: str
    arguments: Arguments
    shape: tuple[int, ...] | None
    message: str

    def run(self, kind: Any, array: Callable[[np.ndarray], Any]) -> Any:
        layer = getattr(kind, self.name)(**self.arguments)
        return layer if self.shape is None else layer(array(ones(*self.shape)))


CONV = {"in_channels": 3, "out_channels": 4, "kernel_size": 3}
SQUARE = {"in_channels": 4, "out_channels": 4, "kernel_size": 3}
NO_FIT = "does not fit into an image of"
MORE_ROOM = "use a smaller kernel_size or dilation, more padding, or larger images"
INT = "must be an int >="

REFUSALS = [
    # Convolution
    Refusal("Conv2d", CONV, (1, 2, 8, 8), "Conv2d: expected input (N, 3, H, W), got (1, 2, 8, 8); give it 3 channels or build it with in_channels=2"),
    Refusal("Conv2d", CONV, (3, 8), "Conv2d: expected input (N, 3, H, W), got (3, 8); images need a batch and a channel axis: add them with"),
    Refusal("Conv2d", CONV, (1, 3, 2, 9), f"Conv2d: a window of 3x3 {NO_FIT} 2x9 with padding 0; {MORE_ROOM}"),
    Refusal("Conv2d", {**CONV, "kernel_size": 5, "padding": 1}, (1, 3, 2, 2), f"Conv2d: a window of 5x5 {NO_FIT} 2x2 with padding 1; {MORE_ROOM}"),
    Refusal("Conv2d", {**CONV, "dilation": 4}, (1, 3, 8, 8), f"Conv2d: a window of 9x9 {NO_FIT} 8x8 with padding 0; {MORE_ROOM}"),
    Refusal("Conv2d", CONV, (2, 3, 0, 5), f"Conv2d: a window of 3x3 {NO_FIT} 0x5 with padding 0; {MORE_ROOM}"),
    Refusal("Conv2d", {**CONV, "groups": 2}, None, "Conv2d: groups must divide in_channels, got groups 2 for 3 channels"),
    Refusal("Conv2d", {**SQUARE, "out_channels": 3, "groups": 2}, None, "Conv2d: groups must be an int >= 1 that divides 3 filters, got 2"),
    Refusal("Conv2d", {**SQUARE, "groups": 0}, None, "Conv2d: groups must be an int >= 1 that divides 4 filters, got 0"),
    Refusal("Conv2d", {**SQUARE, "groups": -2}, None, "Conv2d: groups must be an int >= 1 that divides 4 filters, got -2"),
    Refusal("Conv2d", {**CONV, "padding": "same", "stride": 2}, None, 'padding "same" needs stride 1, got (2, 2); give the padding in numbers'),
    Refusal("Conv2d", {**CONV, "padding": "full"}, None, 'padding must be "same", "valid" or ints >= 0, got \'full\''),
    Refusal("Conv2d", {**CONV, "padding": -1}, (1, 3, 8, 8), f"padding {INT} 0 or a (height, width) pair of them, got -1"),
    Refusal("Conv2d", {**CONV, "stride": 0}, (1, 3, 8, 8), f"stride {INT} 1 or a (height, width) pair of them, got 0"),
    Refusal("Conv2d", {**CONV, "stride": (1, 2, 3)}, (1, 3, 8, 8), f"stride {INT} 1 or a (height, width) pair of them, got (1, 2, 3)"),
    Refusal("Conv2d", {**CONV, "dilation": 0}, (1, 3, 8, 8), f"dilation {INT} 1 or a (height, width) pair of them, got 0"),
    Refusal("Conv2d", {**CONV, "kernel_size": (3, 3, 3)}, (1, 3, 8, 8), f"kernel_size {INT} 1 or a (height, width) pair of them, got (3, 3, 3)"),
    Refusal("Conv2d", {**CONV, "kernel_size": "3"}, None, f"kernel_size {INT} 1 or a (height, width) pair of them, got '3'"),
    Refusal("Conv2d", {**CONV, "kernel_size": 3.5}, None, f"kernel_size {INT} 1 or a (height, width) pair of them, got 3.5"),
    Refusal("Conv2d", {**CONV, "in_channels": -1}, None, f"Conv2d: in_channels {INT} 1, got -1"),
    Refusal("Conv2d", {**CONV, "out_channels": -2}, None, f"Conv2d: out_channels {INT} 1, got -2"),
    # Transposed convolution
    Refusal("ConvTranspose2d", CONV, (1, 2, 8, 8), "ConvTranspose2d: expected input (N, 3, H, W), got (1, 2, 8, 8)"),
    Refusal("ConvTranspose2d", {**CONV, "output_padding": 1}, (1, 3, 4, 4), "ConvTranspose2d: output_padding must be smaller than stride or dilation, got 1 for"),
    Refusal("ConvTranspose2d", {**CONV, "stride": 2, "output_padding": 2}, (1, 3, 4, 4), "ConvTranspose2d: output_padding must be smaller than stride or dilation, got 2"),
    Refusal("ConvTranspose2d", {**CONV, "output_padding": -1}, (1, 3, 4, 4), f"output_padding {INT} 0 or a (height, width) pair of them, got -1"),
    Refusal("ConvTranspose2d", {**CONV, "padding": 2}, (1, 3, 1, 1), "ConvTranspose2d: images of 1x1 would give -1x-1; use less padding"),
    Refusal("ConvTranspose2d", {**CONV, "padding": -1}, (1, 3, 4, 4), f"padding {INT} 0 or a (height, width) pair of them, got -1"),
    Refusal("ConvTranspose2d", {**CONV, "padding": "same"}, (1, 3, 4, 4), f"padding {INT} 0 or a (height, width) pair of them, got 'same'"),
    Refusal("ConvTranspose2d", {**CONV, "stride": 0}, (1, 3, 4, 4), f"stride {INT} 1 or a (height, width) pair of them, got 0"),
    Refusal("ConvTranspose2d", {**CONV, "groups": 2}, None, "ConvTranspose2d: groups must be an int >= 1 that divides 3"),
    Refusal("ConvTranspose2d", {**SQUARE, "out_channels": 3, "groups": 2}, None, "ConvTranspose2d: groups must divide out_channels, got groups 2 for 3 channels"),
    Refusal("ConvTranspose2d", {**SQUARE, "groups": 0}, None, "ConvTranspose2d: groups must be an int >= 1"),
    # Fully connected
    Refusal("Linear", {"in_features": 3, "out_features": 4}, (2, 5), "Linear: expected input (N, 3), got (2, 5); build it with in_features=5"),
    Refusal("Linear", {"in_features": 3, "out_features": 4}, (3, 2), "Linear: expected input (N, 3), got (3, 2); build it with in_features=2"),
    Refusal("Linear", {"in_features": 12, "out_features": 4}, (2, 3, 4), "Linear: expected input (..., 12), got (2, 3, 4); flatten the images first, or build it with in_features=4"),
    Refusal("Linear", {"in_features": -1, "out_features": 4}, None, f"Linear: in_features {INT} 1, got -1"),
    Refusal("Linear", {"in_features": 2.5, "out_features": 4}, None, f"Linear: in_features {INT} 1, got 2.5"),
    Refusal("Flatten", {}, (3,), "Flatten: expected input (N, ...) of two axes or more, got (3,); give single samples a batch axis with x[None]"),
    # Pooling
    *[
        refusal
        for name in ("MaxPool2d", "AvgPool2d")
        for refusal in (
            Refusal(name, {"kernel_size": 3}, (1, 1, 2, 5), f"{name}: a window of 3x3 {NO_FIT} 2x5 with padding 0; {MORE_ROOM}"),
            Refusal(name, {"kernel_size": 5, "padding": 1}, (1, 1, 2, 2), f"{name}: a window of 5x5 {NO_FIT} 2x2 with padding 1; {MORE_ROOM}"),
            Refusal(name, {"kernel_size": 3, "padding": 2}, (1, 1, 5, 5), f"{name}: padding must be at most half of kernel_size, got padding 2 for a kernel of 3x3"),
            Refusal(name, {"kernel_size": 3, "padding": -1}, (1, 1, 5, 5), f"padding {INT} 0 or a (height, width) pair of them, got -1"),
            Refusal(name, {"kernel_size": 0}, (1, 1, 5, 5), f"kernel_size {INT} 1 or a (height, width) pair of them, got 0"),
            Refusal(name, {"kernel_size": 2, "stride": -1}, (1, 1, 5, 5), f"stride {INT} 1 or a (height, width) pair of them, got -1"),
            Refusal(name, {"kernel_size": (2, 2, 2)}, (1, 1, 5, 5), f"kernel_size {INT} 1 or a (height, width) pair of them, got (2, 2, 2)"),
            Refusal(name, {"kernel_size": 2}, (4, 4), f"{name}: expected input (N, C, H, W), got (4, 4); pool images before flattening them"),
        )
    ],
    Refusal("MaxPool2d", {"kernel_size": 2, "dilation": 3}, (1, 1, 3, 3), f"MaxPool2d: a window of 4x4 {NO_FIT} 3x3 with padding 0; {MORE_ROOM}"),
    Refusal("MaxPool2d", {"kernel_size": 2, "dilation": 0}, (1, 1, 3, 3), f"dilation {INT} 1 or a (height, width) pair of them, got 0"),
    *[
        refusal
        for name in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d")
        for refusal in (
            Refusal(name, {"output_size": -1}, (1, 1, 4, 4), f"{name}: output_size {INT} 1 or a (height, width) pair of them, got -1"),
            Refusal(name, {"output_size": (1, 2, 3)}, (1, 1, 4, 4), f"{name}: output_size {INT} 1 or a (height, width) pair of them, got (1, 2, 3)"),
            Refusal(name, {"output_size": 2}, (4, 4), f"{name}: expected images (N, C, H, W), at least 1x1, got (4, 4)"),
            Refusal(name, {"output_size": 2}, (1, 1, 0, 4), f"{name}: expected images (N, C, H, W), at least 1x1, got (1, 1, 0, 4)"),
        )
    ],
    # Normalisation
    Refusal("BatchNorm1d", {"num_features": 3}, (1, 3), "BatchNorm1d: a single value per channel has no variance to learn from, got input (1, 3); use a batch of two"),
    Refusal("BatchNorm1d", {"num_features": 3}, (1, 3, 1), "BatchNorm1d: a single value per channel has no variance to learn from, got input (1, 3, 1); use a batch"),
    Refusal("BatchNorm2d", {"num_features": 3}, (1, 3, 1, 1), "BatchNorm2d: a single value per channel has no variance to learn from, got input (1, 3, 1, 1); use a"),
    Refusal("BatchNorm1d", {"num_features": 3}, (2, 4), "BatchNorm1d: expected input (N, 3) or (N, 3, L), got (2, 4); build it with num_features=4"),
    Refusal("BatchNorm1d", {"num_features": 3}, (2, 3, 4, 5), "BatchNorm1d: expected input (N, 3) or (N, 3, L), got (2, 3, 4, 5)"),
    Refusal("BatchNorm1d", {"num_features": 3}, (3,), "BatchNorm1d: expected input (N, 3) or (N, 3, L), got (3,)"),
    Refusal("BatchNorm2d", {"num_features": 3}, (2, 4, 2, 2), "BatchNorm2d: expected input (N, 3, H, W), got (2, 4, 2, 2); build it with num_features=4"),
    Refusal("BatchNorm2d", {"num_features": 3}, (2, 3, 4), "BatchNorm2d: expected input (N, 3, H, W), got (2, 3, 4)"),
    Refusal("BatchNorm2d", {"num_features": 3}, (2, 3), "BatchNorm2d: expected input (N, 3, H, W), got (2, 3)"),
    Refusal("BatchNorm2d", {"num_features": 2.5}, None, f"BatchNorm2d: num_features {INT} 1, got 2.5"),
    Refusal("LayerNorm", {"normalized_shape": 4}, (2, 3), "LayerNorm: expected input (..., 4), got (2, 3)"),
    Refusal("LayerNorm", {"normalized_shape": (3, 4)}, (2, 4, 3), "LayerNorm: expected input (..., 3, 4), got (2, 4, 3)"),
    Refusal("LayerNorm", {"normalized_shape": (3, 4)}, (4,), "LayerNorm: expected input (..., 3, 4), got (4,)"),
    Refusal("LayerNorm", {"normalized_shape": -1}, None, f"LayerNorm: normalized_shape {INT} 1, got -1"),
    Refusal("GroupNorm", {"num_groups": 2, "num_channels": 3}, None, "GroupNorm: num_groups must divide num_channels, got 2 for 3"),
    Refusal("GroupNorm", {"num_groups": 2, "num_channels": 4}, (2, 6, 3), "GroupNorm: expected input (N, 4, ...), got (2, 6, 3)"),
    Refusal("GroupNorm", {"num_groups": 2, "num_channels": 4}, (4,), "GroupNorm: expected input (N, 4, ...), got (4,)"),
    *(Refusal("InstanceNorm2d", {"num_features": 3}, shape, "InstanceNorm2d: expected input (N, 3, H, W) of more than one pixel, got (2, 3")
      for shape in ((2, 3), (2, 3, 4, 5, 6), (2, 3, 1, 1))),
    Refusal("InstanceNorm2d", {"num_features": 3, "affine": True}, (2, 4, 2, 2), "InstanceNorm2d: expected input (N, 3, "),
    Refusal("LocalResponseNorm", {"size": 0}, (1, 3, 4), f"LocalResponseNorm: size {INT} 1, got 0"),
    Refusal("LocalResponseNorm", {"size": 3}, (3,), "local_response_norm: expected input (N, C, ...), got (3,)"),
    # Dropout and activations
    Refusal("Dropout", {"p": 1.5}, None, "Dropout: p, the share of elements to drop, must be a number from 0 to below 1, got 1.5"),
    Refusal("Dropout2d", {"p": -0.1}, None, "Dropout2d: p, the share of channels to drop, must be a number from 0 to below 1, got -0.1"),
    Refusal("PReLU", {"num_parameters": 3}, (2, 4), "PReLU: expected a weight of one element, or (C,) for x (N, C, ...), got weight (3,) for x (2, 4)"),
    Refusal("PReLU", {"num_parameters": -1}, None, f"PReLU: num_parameters {INT} 1, got -1"),
    Refusal("LeakyReLU", {"negative_slope": "a"}, (2,), "LeakyReLU: negative_slope must be a finite number, got 'a'"),
    Refusal("ELU", {"alpha": "a"}, (2,), "ELU: alpha must be a finite number, got 'a'"),
    Refusal("Softplus", {"beta": "a"}, (2,), "Softplus: beta must be a finite number > 0, got 'a'"),
    Refusal("GELU", {"approximate": "erf"}, (2,), 'GELU: approximate must be "none" or "tanh", got \'erf\''),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=[f"{case.name}-{case.arguments}-{case.shape}" for case in REFUSALS])
def test_both_refuse(refusal: Refusal) -> None:
    assert_both_refuse(lambda: refusal.run(layers, np.asarray), lambda: refusal.run(nn, torch.tensor))
    with pytest.raises(GpucnnError) as caught:
        refusal.run(layers, np.asarray)
    assert str(caught.value).startswith(refusal.message)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: layers.Softmax(2)(ones(2, 3)), lambda: nn.Softmax(2)(torch.ones(2, 3))),
        (lambda: layers.Softmax(-3)(ones(2, 3)), lambda: nn.Softmax(-3)(torch.ones(2, 3))),
        (lambda: layers.Sequential("relu"), lambda: nn.Sequential("relu")),
        (lambda: layers.Sequential([layers.ReLU()]), lambda: nn.Sequential([nn.ReLU()])),
        (
            lambda: layers.Sequential(layers.Flatten(), layers.Linear(9, 2))(ones(1, 1, 4, 4)),
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2))(torch.ones(1, 1, 4, 4)),
        ),
    ],
)
def test_both_refuse_other_layers(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    assert_both_refuse(ours, theirs)


@drawn
def test_one_wrong_number(seed: int) -> None:
    """A drawn convolution or pooling that works, of which one thing is then changed so that it cannot."""
    rng = np.random.default_rng([seed, 4])
    if seed % 2:
        arguments, [images] = draw_max_pool2d(seed)
        name, layer_arguments = "MaxPool2d", arguments
    else:
        arguments, [images, filters, *bias] = draw_conv2d(seed)
        name = "Conv2d"
        layer_arguments = {
            **arguments,
            "in_channels": images.shape[1],
            "out_channels": len(filters),
            "kernel_size": filters.shape[2:],
            "bias": bool(bias),
        }
    shape = list(images.shape)
    Refusal(name, layer_arguments, tuple(shape), "").run(layers, np.asarray)
    changes = ["window", "stride", "padding", "dilation", "axes", *(["channels", "groups"] if name == "Conv2d" else [])]
    change = changes[int(rng.integers(len(changes)))]
    if change == "window":
        axis = int(rng.integers(2))
        kernel = list(np.broadcast_to(layer_arguments["kernel_size"], 2).tolist())
        padding = np.broadcast_to(layer_arguments["padding"], 2)
        kernel[axis] = shape[2 + axis] + 2 * int(padding[axis]) + integer(rng, 1, 3) + 4 * (name == "MaxPool2d")
        layer_arguments = {**layer_arguments, "kernel_size": tuple(kernel)}
    elif change == "channels":
        shape[1] += integer(rng, 1, 3)
    elif change == "axes":
        shape = shape[:2]
    else:
        layer_arguments = {**layer_arguments, change: -integer(rng, 1, 2)}
    refusal = Refusal(name, layer_arguments, tuple(shape), "")
    assert_both_refuse(lambda: refusal.run(layers, np.asarray), lambda: refusal.run(nn, torch.tensor))


def test_a_layer_within_a_model_is_named_by_its_path() -> None:
    model = layers.Sequential(layers.Sequential(layers.Conv2d(1, 2, 3)), layers.Flatten(), layers.Linear(9, 2))
    for shape, message in (
        ((1, 1, 2, 2), r"^0\.0 \(Conv2d\): a window of 3x3 does not fit into an image of 2x2"),
        ((1, 1, 4, 4), r"^2 \(Linear\): expected input \(N, 9\), got \(1, 8\); build it with in_features=8"),
    ):
        with pytest.raises(GpucnnError, match=message):
            model(ones(*shape))


def test_what_pytorch_takes_and_gpucnn_refuses() -> None:
    """Cells of which there are none, channels that are not looked at, shares of 1: all of them lose the input."""
    for name in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"):
        assert getattr(nn, name)(0)(torch.ones(1, 1, 4, 4)).shape == (1, 1, 0, 0)
        with pytest.raises(GpucnnError, match=f"{name}: output_size must be an int >= 1"):
            getattr(layers, name)(0)
    assert nn.GroupNorm(-2, 4).num_groups == -2
    with pytest.raises(GpucnnError, match="GroupNorm: num_groups must be an int >= 1, got -2"):
        layers.GroupNorm(-2, 4)
    assert not nn.Dropout(1.0)(torch.ones(4)).any()
    with pytest.raises(
        GpucnnError, match="Dropout: p, the share of elements to drop, must be a number from 0 to below 1"
    ):
        layers.Dropout(1.0)


def test_what_pytorch_refuses_and_gpucnn_takes() -> None:
    """Channels without positions have neighbours, too."""
    with pytest.raises(ValueError, match="Expected 3D or higher"):
        nn.LocalResponseNorm(3)(torch.ones(2, 3))
    assert layers.LocalResponseNorm(3)(ones(2, 3)).shape == (2, 3)
