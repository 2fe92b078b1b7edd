"""A valid call of everything public that takes arguments: what odd arguments are put into, one at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpucnn import Tensor, data, layers, models, optim
from gpucnn import functions as F

IMAGES = np.linspace(-1, 1, 2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6)
SEQUENCES = IMAGES.reshape(2, 4, 36)
ROWS = np.linspace(-2, 2, 15, dtype=np.float32).reshape(3, 5)
PROBABILITIES = np.full((3, 5), 0.2, np.float32)
LABELS = np.array([0, 4, 2])
VECTOR = np.ones(4, np.float32)
BYTES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 1, 8, 8)


class Call(NamedTuple):
    """Something to call, with arguments by name that are all right; `then` uses what it returned."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    then: Callable[[Any], object] = lambda result: result


def _parameters() -> list[layers.Parameter]:
    return layers.Linear(3, 2).parameters()


def _step(optimizer: Any) -> None:
    parameters = [parameter for group in optimizer.groups for parameter in group.parameters]
    for parameter in parameters:
        parameter.grad = np.ones(parameter.shape, np.float32)
    optimizer.step()


def _on(x: np.ndarray) -> Callable[[Any], object]:
    return lambda layer: layer(Tensor(x))


def _rates(schedule: Any) -> object:
    return [schedule(step) for step in range(5)]


def _digits() -> data.ArrayDataset:
    return data.ArrayDataset(BYTES, np.array([0, 1, 2, 0, 1, 2]), data.Preprocess(1, 8, 8, 255, "pad"))


def _loaded(loader: data.DataLoader) -> object:
    return [labels for _, labels in loader]


def _drawn(augment: Any) -> object:
    keys = np.arange(6)
    return augment(BYTES.astype(np.float32), keys, 0, 0)


def _mixed(mix: Any) -> object:
    return mix(BYTES.astype(np.float32), np.array([0, 1, 2, 0, 1, 2]), np.arange(6), 3, 0, 0)


FUNCTIONS: dict[str, dict[str, Any]] = {
    **{name: {"x": ROWS} for name in (
        "abs", "exp", "log", "negative", "sqrt", "relu", "relu6", "sigmoid", "silu", "tanh", "mish", "selu", "hardswish",
        "hardsigmoid",
    )},
    **{name: {"a": ROWS, "b": ROWS} for name in (
        "add", "subtract", "multiply", "divide", "maximum", "minimum",
    )},
    **{name: {"x": ROWS, "axis": 1, "keepdims": False} for name in ("sum", "mean", "max", "min")},
    **{name: {"x": ROWS, "p": 0.5, "training": True, "seed": 0, "purpose": "dropout", "counter": 0} for name in (
        "dropout", "stochastic_depth",
    )},
    "dropout2d": {"x": IMAGES, "p": 0.5, "training": True, "seed": 0, "purpose": "dropout", "counter": 0},
    "add": {"a": ROWS, "b": ROWS, "activation": "relu"},
    "adaptive_avg_pool2d": {"x": IMAGES, "output_size": (2, 3)},
    "adaptive_max_pool2d": {"x": IMAGES, "output_size": (2, 3)},
    "avg_pool2d": {"x": IMAGES, "kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True},
    "batch_norm": {
        "x": IMAGES, "running_mean": Tensor(VECTOR), "running_var": Tensor(VECTOR), "weight": VECTOR, "bias": VECTOR,
        "training": True, "momentum": 0.1, "eps": 1e-5, "activation": None,
    },
    "binary_cross_entropy_with_logits": {
        "logits": ROWS, "targets": PROBABILITIES, "weight": PROBABILITIES, "reduction": "mean", "pos_weight": PROBABILITIES,
    },
    "clip": {"x": ROWS, "low": -1.0, "high": 1.0},
    "concatenate": {"tensors": [ROWS, ROWS], "axis": 0},
    "conv1d": {
        "x": SEQUENCES, "weight": np.ones((2, 2, 3), np.float32), "bias": np.ones(2, np.float32), "stride": 1, "padding": 1,
        "dilation": 1, "groups": 2,
    },
    "conv2d": {
        "x": IMAGES, "weight": np.ones((2, 2, 3, 3), np.float32), "bias": np.ones(2, np.float32), "stride": 1, "padding": 1,
        "dilation": 1, "groups": 2, "activation": None,
    },
    "conv_transpose2d": {
        "x": IMAGES, "weight": np.ones((4, 1, 3, 3), np.float32), "bias": np.ones(2, np.float32), "stride": 2, "padding": 1,
        "output_padding": 1, "groups": 2, "dilation": 1,
    },
    "convolve2d": {"image": IMAGES[0, 0], "kernel": np.ones((3, 3), np.float32), "stride": 1, "padding": 1},
    "cross_entropy": {
        "logits": ROWS, "labels": LABELS, "weight": np.ones(5, np.float32), "label_smoothing": 0.1, "ignore_index": 1,
        "reduction": "mean",
    },
    "elu": {"x": ROWS, "alpha": 1.0},
    "expand_dims": {"x": ROWS, "axis": 1},
    "flatten": {"x": IMAGES, "start_axis": 1},
    "focal_loss": {"inputs": ROWS, "targets": PROBABILITIES, "alpha": 0.25, "gamma": 2.0, "reduction": "mean"},
    "gelu": {"x": ROWS, "approximate": "none"},
    "getitem": {"x": ROWS, "index": (0, slice(1, 3))},
    "group_norm": {"x": IMAGES, "num_groups": 2, "weight": VECTOR, "bias": VECTOR, "eps": 1e-5},
    "huber_loss": {"input": ROWS, "target": ROWS + 1, "reduction": "mean", "delta": 1.0},
    "instance_norm": {"x": IMAGES, "weight": VECTOR, "bias": VECTOR, "eps": 1e-5},
    "interpolate": {"x": IMAGES, "size": (3, 4), "scale_factor": None, "mode": "bilinear", "align_corners": False},
    "kl_div": {"input": ROWS, "target": PROBABILITIES, "reduction": "mean", "log_target": False},
    "l1_loss": {"input": ROWS, "target": ROWS, "reduction": "mean"},
    "layer_norm": {"x": ROWS, "normalized_shape": 5, "weight": ROWS[0], "bias": ROWS[0], "eps": 1e-5},
    "leaky_relu": {"x": ROWS, "negative_slope": 0.1},
    "linear": {"x": ROWS, "weight": np.ones((2, 5), np.float32), "bias": np.ones(2, np.float32), "activation": None},
    "local_response_norm": {"x": IMAGES, "size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
    "log_softmax": {"x": ROWS, "axis": 1},
    "matmul": {"a": ROWS, "b": ROWS.T},
    "max_pool1d": {"x": SEQUENCES, "kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False},
    "max_pool2d": {
        "x": IMAGES, "kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False, "return_indices": False,
    },
    "max_pooling": {"feature_map": IMAGES[0, 0], "pool_size": 2, "stride": 2},
    "max_unpool2d": {
        "x": IMAGES[:, :, :3, :3], "indices": F.max_pool2d(Tensor(IMAGES), 2, return_indices=True)[1], "kernel_size": 2,
        "stride": 2, "padding": 0, "output_size": (6, 6),
    },
    "mse_loss": {"input": ROWS, "target": ROWS, "reduction": "mean"},
    "nll_loss": {
        "log_probabilities": ROWS, "labels": LABELS, "weight": np.ones(5, np.float32), "ignore_index": 1, "reduction": "mean",
    },
    "pad": {"x": IMAGES, "padding": ((1, 1), (2, 0)), "mode": "constant", "value": 0.0},
    "power": {"x": ROWS, "exponent": 2.0},
    "prelu": {"x": IMAGES, "weight": VECTOR},
    "reshape": {"x": ROWS, "shape": (5, 3)},
    "smooth_l1_loss": {"input": ROWS, "target": ROWS + 1, "reduction": "mean", "beta": 1.0},
    "softmax": {"x": ROWS, "axis": 1},
    "softplus": {"x": ROWS, "beta": 1.0, "threshold": 20.0},
    "split": {"x": ROWS, "sections": 3, "axis": 0},
    "squeeze": {"x": ROWS[None], "axis": 0},
    "stack": {"tensors": [ROWS, ROWS], "axis": 0},
    "transpose": {"x": ROWS, "axes": (1, 0)},
    "var": {"x": ROWS, "axis": 1, "correction": 1, "keepdims": False},
    "where": {"condition": ROWS > 0, "a": ROWS, "b": ROWS},
}  # fmt: skip

LAYERS: dict[str, tuple[dict[str, Any], np.ndarray]] = {
    "AdaptiveAvgPool2d": ({"output_size": 2}, IMAGES),
    "AdaptiveMaxPool2d": ({"output_size": 2}, IMAGES),
    "AvgPool2d": ({"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True}, IMAGES),
    "BatchNorm1d": ({"num_features": 5, "eps": 1e-5, "momentum": 0.1, "affine": True, "frozen": False}, ROWS),
    "BatchNorm2d": ({"num_features": 4, "eps": 1e-5, "momentum": 0.1, "affine": True, "frozen": False}, IMAGES),
    "Conv1d": ({
        "in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 2,
        "bias": True, "initialize": "he_normal"}, SEQUENCES),
    "Conv2d": ({
        "in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 2,
        "bias": True, "activation": None, "initialize": "he_normal"}, IMAGES),
    "ConvTranspose2d": ({
        "in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2,
        "bias": True, "dilation": 1, "initialize": "he_normal"}, IMAGES),
    "Dropout": ({"p": 0.5}, ROWS),
    "Dropout2d": ({"p": 0.5}, IMAGES),
    "ELU": ({"alpha": 1.0}, ROWS),
    "GELU": ({"approximate": "none"}, ROWS),
    "GroupNorm": ({"num_groups": 2, "num_channels": 4, "eps": 1e-5, "affine": True}, IMAGES),
    "InstanceNorm2d": ({"num_features": 4, "eps": 1e-5, "affine": True}, IMAGES),
    "LayerNorm": ({"normalized_shape": 5, "eps": 1e-5, "affine": True}, ROWS),
    "LeakyReLU": ({"negative_slope": 0.1}, ROWS),
    "Linear": ({"in_features": 5, "out_features": 2, "bias": True, "activation": None, "initialize": "he_normal"}, ROWS),
    "LocalResponseNorm": ({"size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1.0}, IMAGES),
    "MaxPool1d": ({"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False}, SEQUENCES),
    "MaxPool2d": ({"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False}, IMAGES),
    "PReLU": ({"num_parameters": 4, "init": 0.25}, IMAGES),
    "SeparableConv2d": ({
        "in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1,
        "depth_multiplier": 1, "bias": True}, IMAGES),
    "Softmax": ({"axis": 1}, ROWS),
    "Softplus": ({"beta": 1.0, "threshold": 20.0}, ROWS),
    "StochasticDepth": ({"p": 0.5}, ROWS),
}  # fmt: skip
