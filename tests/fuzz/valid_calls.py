"""A valid call of everything public that takes arguments: what odd arguments are put into, one at a time."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpucnn
from gpucnn import Tensor, autograd, data, explain, export, gradcheck, layers, models, optim, plot, serve, training
from gpucnn import functions as F
from gpucnn.runs.trained_run import TrainedRun, Weights

IMAGES = np.linspace(-1, 1, 2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6)
SEQUENCES = IMAGES.reshape(2, 4, 36)
ROWS = np.linspace(-2, 2, 15, dtype=np.float32).reshape(3, 5)
PROBABILITIES = np.full((3, 5), 0.2, np.float32)
LABELS = np.array([0, 4, 2])
VECTOR = np.ones(4, np.float32)
BYTES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 1, 8, 8)


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
    "adaptive_max_pool2d": {"x": IMAGES, "output_size": (2, 3), "return_indices": True},
    "adaptive_avg_pool1d": {"x": SEQUENCES, "output_size": 3},
    "adaptive_max_pool1d": {"x": SEQUENCES, "output_size": 3, "return_indices": False},
    "avg_pool1d": {
        "x": SEQUENCES, "kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True,
    },
    "avg_pool2d": {
        "x": IMAGES, "kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True,
        "divisor_override": 3,
    },
    "batch_norm": {
        "x": IMAGES, "running_mean": Tensor(VECTOR), "running_var": Tensor(VECTOR), "weight": VECTOR, "bias": VECTOR,
        "training": True, "momentum": 0.1, "eps": 1e-5, "activation": None, "residual": IMAGES,
    },
    "binary_cross_entropy_with_logits": {
        "logits": ROWS, "targets": PROBABILITIES, "weight": PROBABILITIES, "reduction": "mean", "pos_weight": PROBABILITIES,
    },
    "clip": {"x": ROWS, "low": -1.0, "high": 1.0},
    "argmax": {"x": ROWS, "axis": 1, "keepdims": False},
    "argmin": {"x": ROWS, "axis": 1, "keepdims": False},
    "astype": {"x": ROWS, "dtype": "float64"},
    "clone": {"x": ROWS},
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
    "interpolate": {
        "x": IMAGES, "size": (3, 4), "scale_factor": None, "mode": "bilinear", "align_corners": False,
        "recompute_scale_factor": None, "antialias": True,
    },
    "kl_div": {"input": ROWS, "target": PROBABILITIES, "reduction": "mean", "log_target": False},
    "l1_loss": {"input": ROWS, "target": ROWS, "reduction": "mean"},
    "layer_norm": {"x": ROWS, "normalized_shape": 5, "weight": ROWS[0], "bias": ROWS[0], "eps": 1e-5},
    "leaky_relu": {"x": ROWS, "negative_slope": 0.1},
    "linear": {"x": ROWS, "weight": np.ones((2, 5), np.float32), "bias": np.ones(2, np.float32), "activation": None},
    "local_response_norm": {"x": IMAGES, "size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
    "log_softmax": {"x": ROWS, "axis": 1},
    "matmul": {"a": ROWS, "b": ROWS.T},
    "max_pool1d": {
        "x": SEQUENCES, "kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False, "return_indices": False,
    },
    "max_pool2d": {
        "x": IMAGES, "kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False, "return_indices": False,
    },
    "max_pooling": {"feature_map": IMAGES[0, 0], "pool_size": 2, "stride": 2},
    "max_unpool2d": {
        "x": IMAGES[:, :, :3, :3], "indices": F.max_pool2d(Tensor(IMAGES), 2, return_indices=True)[1], "kernel_size": 2,
        "stride": 2, "padding": 0, "output_size": (6, 6),
    },
    "max_unpool1d": {
        "x": SEQUENCES[:, :, :18], "indices": F.max_pool1d(Tensor(SEQUENCES), 2, return_indices=True)[1], "kernel_size": 2,
        "stride": 2, "padding": 0, "output_size": 36,
    },
    "mse_loss": {"input": ROWS, "target": ROWS, "reduction": "mean"},
    "nll_loss": {
        "log_probabilities": ROWS, "labels": LABELS, "weight": np.ones(5, np.float32), "ignore_index": 1, "reduction": "mean",
    },
    "pad": {"x": ROWS, "padding": ((1, 1), (2, 0)), "mode": "constant", "value": 0.0},
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
    "AdaptiveAvgPool1d": ({"output_size": 2}, SEQUENCES),
    "AdaptiveMaxPool1d": ({"output_size": 2}, SEQUENCES),
    "AvgPool1d": (
        {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True}, SEQUENCES),
    "ConvLayer": ({
        "in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 2,
        "bias": True, "activation": "relu", "initialize": "he_normal"}, IMAGES),
    "MaxPoolLayer": ({"pool_size": 2, "stride": 2}, IMAGES),
    "AvgPool2d": ({
        "kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": False, "count_include_pad": True, "divisor_override": 3},
        IMAGES),
    "BatchNorm1d": ({
        "num_features": 5, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True, "frozen": False,
        "scale": True, "bias": True}, ROWS),
    "BatchNorm2d": ({
        "num_features": 4, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True, "frozen": False,
        "scale": True, "bias": True}, IMAGES),
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
    "GroupNorm": ({"num_groups": 2, "num_channels": 4, "eps": 1e-5, "affine": True, "bias": True}, IMAGES),
    "InstanceNorm2d": ({"num_features": 4, "eps": 1e-5, "affine": True, "bias": True}, IMAGES),
    "LayerNorm": ({"normalized_shape": 5, "eps": 1e-5, "affine": True, "bias": True}, ROWS),
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


def _parameters() -> list[layers.Parameter]:
    return list(layers.Linear(3, 2).parameters())


def _step(optimizer: Any) -> None:
    for parameter in optimizer.parameters.values():
        parameter.grad = np.ones(parameter.shape, np.float32)
    optimizer.step()


def _rates(schedule: Any) -> object:
    return [schedule(step) for step in range(5)]


def _dataset() -> data.ArrayDataset:
    return data.ArrayDataset(BYTES, CLASSES, data.Preprocess(1, 8, 8, 255, "pad"))


def _result() -> training.Evaluation:
    return training.evaluate(MODEL, data.DataLoader(_dataset(), 2))


def _collated(samples: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([image for image, _ in samples]), np.array([label for _, label in samples])


def _epoch(loader: Any) -> object:
    return [labels for _, labels in loader]


def _batch(dataset: Any) -> object:
    return dataset[np.arange(2)]


def _augmented(augment: Any) -> object:
    return augment(BYTES / np.float32(255), np.arange(6), 0, 0)


def _mixed(mix: Any) -> object:
    return mix(BYTES / np.float32(255), CLASSES, np.arange(6), 0, 0, 3)


CLASSES = np.array([0, 1, 2, 0, 1, 2])
_DECAYS = {"weight_decay": 0.1, "decay_vectors": True}
OTHERS: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]], Callable[[Any], object]]] = {
    "optim.SGD": (optim.SGD, lambda: {
        "parameters": _parameters(), "lr": 0.1, "momentum": 0.9, **_DECAYS, "nesterov": False}, _step),
    "optim.Adam": (optim.Adam, lambda: {
        "parameters": _parameters(), "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, **_DECAYS}, _step),
    "optim.AdamW": (optim.AdamW, lambda: {
        "parameters": _parameters(), "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, **_DECAYS}, _step),
    "optim.Lion": (optim.Lion, lambda: {
        "parameters": _parameters(), "lr": 0.1, "betas": (0.9, 0.99), **_DECAYS}, _step),
    "optim.RMSprop": (optim.RMSprop, lambda: {
        "parameters": _parameters(), "lr": 0.1, "alpha": 0.9, "eps": 1e-8, "momentum": 0.9, "centered": False, **_DECAYS},
        _step),
    "optim.Adagrad": (optim.Adagrad, lambda: {
        "parameters": _parameters(), "lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-8, **_DECAYS},
        _step),
    "optim.Group": (optim.Group, lambda: {"parameters": _parameters(), "lr_factor": 0.1, "weight_decay": 0.1}, lambda group: group.parameters),
    "optim.SGD of a dict": (lambda **group: optim.SGD([group], 0.1), lambda: {
        "params": _parameters(), "lr": 0.01, "weight_decay": 0.1}, str),
    "optim.Scheduler": (optim.Scheduler, lambda: {
        "optimizer": optim.SGD(_parameters(), 0.1), "schedule": optim.cosine(0.1, 4)}, lambda scheduler: scheduler.step()),
    "optim.Scheduler.step": (lambda loss: optim.Scheduler(optim.SGD(_parameters(), 0.1), optim.ReduceOnPlateau(0.1)).step(loss),
        lambda: {"loss": 0.5}, str),
    "optim.ReduceOnPlateau": (optim.ReduceOnPlateau, lambda: {
        "lr": 0.1, "factor": 0.1, "patience": 2, "threshold": 0.1, "cooldown": 1, "least": 0.0}, lambda plateau: plateau),
    "optim.WeightAverage": (optim.WeightAverage, lambda: {"model": layers.Linear(3, 2), "decay": 0.9}, lambda average: average),
    "optim.Lookahead": (optim.Lookahead, lambda: {
        "model": layers.Linear(3, 2), "steps": 9, "every": 2, "decay": 0.9}, lambda lookahead: lookahead.step()),
    "optim.clip_gradient_norm": (optim.clip_gradient_norm, lambda: {"parameters": _parameters(), "most": 1.0}, float),
    "optim.clip_gradient_value": (optim.clip_gradient_value, lambda: {"parameters": _parameters(), "most": 1.0}, str),
    "optim.constant": (optim.constant, lambda: {"lr": 0.1}, _rates),
    "optim.cosine": (optim.cosine, lambda: {"peak": 0.1, "total_steps": 4, "end": 0.0}, _rates),
    "optim.cosine_restarts": (optim.cosine_restarts, lambda: {"peak": 0.1, "period": 2, "growth": 2, "end": 0.0}, _rates),
    "optim.exponential": (optim.exponential, lambda: {"peak": 0.1, "factor": 0.5}, _rates),
    "optim.multi_step": (optim.multi_step, lambda: {"peak": 0.1, "milestones": [2, 3], "factor": 0.5}, _rates),
    "optim.one_cycle": (optim.one_cycle, lambda: {"peak": 0.1, "total_steps": 4, "warmup": 0.3}, _rates),
    "optim.polynomial": (optim.polynomial, lambda: {"peak": 0.1, "total_steps": 4, "power": 2.0, "end": 0.0}, _rates),
    "optim.triangle": (optim.triangle, lambda: {
        "peak": 0.1, "total_steps": 4, "warmup": 0.3, "start": 0.2, "end": 0.07}, _rates),
    "optim.step_decay": (optim.step_decay, lambda: {"peak": 0.1, "every": 2, "factor": 0.5}, _rates),
    "optim.warm_up": (optim.warm_up, lambda: {"schedule": optim.constant(0.1), "steps": 2, "start": 0.1}, _rates),
    "ImageClassifier": (lambda **parameters: gpucnn.ImageClassifier(**parameters), lambda: {
        "model": "mlp", "image_shape": (1, 8, 8), "epochs": 1, "batch_size": 3, "optimizer": "sgd", "lr": 0.1, "augment": ("flip",),
        "device": "cpu", "seed": 0},
        lambda classifier: classifier.fit(BYTES.reshape(6, 64), CLASSES).predict(BYTES)),
    "data.ArrayDataset": (data.ArrayDataset, lambda: {
        "images": BYTES, "labels": CLASSES, "preprocess": None, "num_classes": 3}, _batch),
    "data.Preprocess": (data.Preprocess, lambda: {
        "channels": 1, "native_size": 8, "image_size": 8, "full_scale": 255, "fit": "pad", "mean": (0.5,), "std": (0.5,)},
        lambda preprocess: preprocess(BYTES)),
    "data.DataLoader": (data.DataLoader, lambda: {
        "dataset": _dataset(), "batch_size": 2, "shuffle": True, "seed": 0, "drop_last": True, "augment": None, "mix": None,
        "workers": 0, "weights": np.ones(3)}, _epoch),
    "data.DataLoader of samples": (data.DataLoader, lambda: {
        "dataset": _dataset(), "batch_size": 2, "sampler": [1, 0], "collate": _collated}, _epoch),
    "data.DataLoader of batches": (data.DataLoader, lambda: {"dataset": _dataset(), "batch_sampler": [[1], [0, 1]]}, _epoch),
    "data.ItemDataset": (data.ItemDataset, lambda: {"items": [(np.zeros((1, 2, 2)), 0)], "num_classes": 2}, lambda dataset: dataset[:]),
    "data.Subset": (data.Subset, lambda: {"parent": _dataset(), "indices": np.array([0, 2])}, _batch),
    "data.split": (data.split, lambda: {"dataset": _dataset(), "share": 0.5, "seed": 0}, list),
    "data.channel_statistics": (data.channel_statistics, lambda: {"dataset": _dataset()}, list),
    "data.class_weights": (data.class_weights, lambda: {"labels": CLASSES, "num_classes": 3}, list),
    "data.ColorJitter": (data.ColorJitter, lambda: {
        "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "mean": (0.5,), "std": (0.5,)}, _augmented),
    "data.Compose": (lambda augmentation: data.Compose(augmentation), lambda: {"augmentation": data.RandomFlip()}, _augmented),
    "data.CutMix": (data.CutMix, lambda: {"alpha": 1.0}, _mixed),
    "data.Cutout": (data.Cutout, lambda: {"size": 2}, _augmented),
    "data.Mixup": (data.Mixup, lambda: {"alpha": 1.0}, _mixed),
    "data.RandAugment": (data.RandAugment, lambda: {
        "n": 2, "magnitude": 5.0, "fill": "reflect", "mean": (0.5,), "std": (0.5,)}, _augmented),
    "data.RandomErasing": (data.RandomErasing, lambda: {
        "p": 0.5, "scale": (0.1, 0.3), "ratio": (0.5, 2.0), "fill": "noise", "mean": (0.5,), "std": (0.5,)}, _augmented),
    "data.RandomAffine": (data.RandomAffine, lambda: {
        "degrees": 10, "translate": 0.1, "scale": (0.9, 1.1), "shear": 5.0, "fill": "reflect"}, _augmented),
    "data.AlternatingFlip": (data.AlternatingFlip, dict, _augmented),
    "data.RandomFlip": (data.RandomFlip, lambda: {"p": 0.5}, _augmented),
    "data.RandomResizedCrop": (data.RandomResizedCrop, lambda: {
        "image_size": 8, "scale": (0.5, 1.0), "ratio": (0.75, 1.5)}, _augmented),
    "data.RandomShift": (data.RandomShift, lambda: {"max_shift": 2, "fill": "zero"}, _augmented),
    "data.load": (data.load, lambda: {"name": "digits", "folder": None, "image_size": 32, "mode": None, "background": "auto", "skip": []}, lambda splits: splits),
    "data.inspect": (data.inspect, lambda: {"place": "nowhere", "told": None, "pixels": None}, str),
    "data.pack": (data.pack, lambda: {"folder": "nowhere", "to": "nowhere else", "size": 1, "seed": 0}, len),
    "data.WindowShuffle": (data.WindowShuffle, lambda: {"files": 2}, lambda shuffle: shuffle.order(np.arange(5), 0, 0)),
    "data.native_size": (data.native_size, lambda: {"name": "digits"}, int),
    "data.ImageFolder": (data.ImageFolder, lambda: {
        "folder": "nowhere", "image_size": 8, "mode": "rgb", "preprocess": None, "class_names": ["a"], "cache_bytes": 8,
        "background": "auto"}, len),
    "data.read_idx": (data.read_idx, lambda: {"path": "nowhere", "axes": 1}, len),
    "data.read_cifar10": (data.read_cifar10, lambda: {"folder": "nowhere"}, len),
    "data.read_image": (data.read_image, lambda: {
        "image": "nowhere", "preprocess": data.Preprocess(1, 8, 8, 255, "pad")}, len),
    "models.create": (models.create, lambda: {
        "name": "lenet5", "num_classes": 3, "in_channels": 1, "image_size": 32, "seed": 0, "weights": None},
        lambda model: model(np.zeros((1, 1, 32, 32), np.float32))),
    "models.load_weights": (models.load_weights, lambda: {"model": models.create("lenet5"), "weights": "nowhere"}, str),
    "models.default_input": (models.default_input, lambda: {"name": "lenet5"}, list),
    "models.of_weights": (models.of_weights, lambda: {"weights": "nowhere"}, str),
    "models.image_size_for": (models.image_size_for, lambda: {"name": "lenet5", "native_size": 8}, int),
    "Tensor": (Tensor, lambda: {"data": ROWS, "requires_grad": True}, lambda tensor: tensor),
    "Tensor.backward": (lambda grad: Tensor(ROWS, requires_grad=True).sum(axis=0).backward(grad), lambda: {
        "grad": np.ones(5, np.float32)}, str),
    "Tensor.to": (lambda device: Tensor(ROWS).to(device), lambda: {"device": "cpu"}, str),
    "Tensor.reshape": (lambda shape: Tensor(ROWS).reshape(shape), lambda: {"shape": (5, 3)}, str),
    "Tensor.transpose": (lambda axes: Tensor(ROWS).transpose(axes), lambda: {"axes": (1, 0)}, str),
    "Tensor[]": (lambda index: Tensor(ROWS)[index], lambda: {"index": 0}, str),
    "Tensor +": (lambda other: Tensor(ROWS) + other, lambda: {"other": 1.0}, str),
    "Tensor @": (lambda other: Tensor(ROWS) @ other, lambda: {"other": ROWS.T}, str),
    "Tensor ==": (lambda other: Tensor(ROWS) == other, lambda: {"other": 1.0}, str),
    "Tensor.register_hook": (lambda hook: Tensor(ROWS, requires_grad=True).register_hook(hook), lambda: {"hook": abs}, str),
    "Tensor.requires_grad_": (lambda flag: Tensor(ROWS).requires_grad_(flag), lambda: {"flag": True}, str),
    "autograd.grad": (lambda **options: autograd.grad(X * X, **options), lambda: {
        "inputs": X, "grad_outputs": ROWS, "retain_graph": False, "create_graph": False, "allow_unused": False}, str),
    "from_dlpack": (gpucnn.from_dlpack, lambda: {"array": ROWS}, str),
    "gradcheck": (lambda x: gradcheck(F.exp, x), lambda: {"x": Tensor(np.ones((2, 2)), requires_grad=True)}, str),
    "layers.Parameter": (layers.Parameter, lambda: {
        "shape": (2, 3), "initialize": layers.initializer("zeros"), "dtype": np.float32, "requires_grad": True},
        lambda tensor: tensor.data),
    "layers.Parameter of values": (layers.Parameter, lambda: {"shape": ROWS, "initialize": None}, lambda tensor: tensor.data),
    "layers.Sequential": (lambda layer: layers.Sequential(layer), lambda: {"layer": layers.ReLU()}, str),
    "layers.Residual": (layers.Residual, lambda: {"block": layers.ReLU(), "shortcut": None}, str),
    "layers.Branches": (lambda layer: layers.Branches(layer), lambda: {"layer": layers.ReLU()}, str),
    "layers.Checkpoint": (layers.Checkpoint, lambda: {"block": layers.ReLU()}, str),
    "layers.MeanOfViews": (layers.MeanOfViews, lambda: {"model": layers.ReLU(), "views": "mirror"}, str),
    "layers.LayerList": (lambda layer: layers.LayerList(layer), lambda: {"layer": layers.ReLU()}, str),
    "layers.LayerDict": (layers.LayerDict, lambda: {"layers": {"a": layers.ReLU()}}, str),
    "layers.ParameterList": (lambda parameter: layers.ParameterList(parameter), lambda: {"parameter": [ROWS]}, str),
    "layers.Layer.add_module": (layers.Linear(3, 2).add_module, lambda: {"name": "a", "layer": layers.ReLU()}, str),
    "layers.Layer.register_parameter": (layers.Linear(3, 2).register_parameter, lambda: {
        "name": "a", "parameter": layers.Parameter(ROWS)}, str),
    "layers.Layer.register_buffer": (layers.Linear(3, 2).register_buffer, lambda: {"name": "a", "values": ROWS}, str),
    "layers.Layer.train": (layers.Linear(3, 2).train, lambda: {"mode": True}, str),
    "layers.Buffer": (layers.Buffer, lambda: {
        "shape": (2, 3), "initialize": layers.initializer("zeros"), "dtype": np.float32}, lambda tensor: tensor.data),
    "layers.initializer": (layers.initializer, lambda: {"name": "zeros"}, str),
    "layers.Lambda": (layers.Lambda, lambda: {"function": F.relu}, lambda layer: layer(Tensor(ROWS))),
    "layers.Layer.to": (lambda device: layers.Linear(3, 2).to(device), lambda: {"device": "cpu"}, str),
    "layers.Layer.astype": (lambda dtype: layers.Linear(3, 2).astype(dtype), lambda: {"dtype": "float64"}, str),
    "layers.Layer.load_state_dict": (lambda **given: layers.Linear(3, 2).load_state_dict(**given), lambda: {
        "state": layers.Linear(3, 2).state_dict(), "strict": False, "finite": True}, str),
    "layers.Layer.output_shape": (lambda shape: layers.Sequential(layers.Linear(3, 2)).output_shape(shape), lambda: {"shape": (1, 3)}, str),
    "layers.Layer.requires_grad_": (lambda flag: layers.Linear(3, 2).requires_grad_(flag), lambda: {"flag": True}, str),
    "layers.whiten": (layers.whiten, lambda: {
        "conv": layers.Conv2d(1, 8, 2), "images": np.random.default_rng(0).standard_normal((4, 1, 5, 5)), "eps": 0.1}, str),
    "training.FreezeAfter": (training.FreezeAfter, lambda: {"parameters": _parameters(), "epochs": 2}, str),
    "training.EarlyStopping": (training.EarlyStopping, lambda: {"patience": 2, "least_change": 0.1}, str),
    "training.ConfusionMatrix": (training.ConfusionMatrix, lambda: {"class_names": ["a", "b"]}, str),
    "training.in_top_k": (training.in_top_k, lambda: {"logits": ROWS, "labels": LABELS, "k": 2}, str),
    "training.RunFolder": (training.RunFolder, lambda: {"path": "nowhere"}, str),
    "training.list_runs": (training.list_runs, lambda: {"folder": "nowhere"}, str),
    "training.load_checkpoint": (training.load_checkpoint, lambda: {"path": "nowhere"}, str),
    "training.Trainer": (lambda **options: training.Trainer(
        MODEL, optim.SGD(MODEL.parameters()), data.DataLoader(_dataset(), 2), None, **options).fit(1), lambda: {
        "schedule": None, "callbacks": [], "label_smoothing": 0.1, "accumulate": 2, "clip_norm": None, "clip_value": None,
        "average": None, "lookahead": None, "precision": "tf32", "graph": "auto"}, str),
    "training.CapturedStep": (lambda **options: training.CapturedStep(MODEL, optim.SGD(MODEL.parameters()), **options)(
        np.ones((2, 1, 8, 8), np.float32), np.array([0, 1])).item(), lambda: {"loss": F.cross_entropy, "graph": "auto"}, float),
    "training.Trainer.fit": (lambda epochs: training.Trainer(
        MODEL, optim.SGD(MODEL.parameters()), data.DataLoader(_dataset(), 2), None).fit(epochs), lambda: {"epochs": 1}, str),
    "training.find_lr": (lambda **options: training.find_lr(training.Trainer(
        MODEL, optim.SGD(MODEL.parameters()), data.DataLoader(_dataset(), 2), None), **options), lambda: {
        "steps": 10, "lowest": 1e-3, "highest": 1.0, "on_step": None}, str),
    "training.calibration": (training.calibration, lambda: {"result": _result(), "bins": 4}, str),
    "explain.grad_cam": (explain.grad_cam, lambda: {"model": NET, "image": ONE, "label": 1, "layer": "0"}, len),
    "explain.input_gradient": (explain.input_gradient, lambda: {"model": NET, "image": ONE, "label": 1}, len),
    "explain.occlusion": (explain.occlusion, lambda: {
        "model": NET, "image": ONE, "label": 1, "size": 3, "stride": 2, "value": 0.0}, len),
    "explain.feature_maps": (explain.feature_maps, lambda: {"model": NET, "image": ONE, "layer": "0"}, len),
    "explain.last_map": (explain.last_map, lambda: {"model": NET, "image": ONE}, str),
    "explain.stages": (explain.stages, lambda: {"model": NET, "image": ONE}, list),
    "explain.receptive_field": (explain.receptive_field, lambda: {"model": NET, "image": ONE, "layer": "0"}, len),
    "explain.exciting_patches": (explain.exciting_patches, lambda: {
        "model": NET, "images": BYTES / np.float32(255), "layer": "0", "count": 2, "filters": [1]}, len),
    "plot.curves": (plot.curves, lambda: {"runs": [{"epoch": 1, "train_loss": 2.0}], "path": None}, str),
    "plot.confusion": (plot.confusion, lambda: {"result": training.ConfusionMatrix(["a"]), "path": None}, str),
    "plot.calibration": (plot.calibration, lambda: {"result": _result(), "path": None}, str),
    "plot.mistakes": (plot.mistakes, lambda: {"result": _result(), "count": 1, "path": None}, str),
    "plot.batch": (plot.batch, lambda: {
        "loader": data.DataLoader(_dataset(), 2), "class_names": ["a", "b", "c"], "count": 1, "path": None}, str),
    "plot.filters": (plot.filters, lambda: {"model": NET, "layer": "0", "path": None}, str),
    "plot.feature_maps": (plot.feature_maps, lambda: {"model": NET, "image": ONE, "layer": "0", "path": None}, str),
    "plot.grad_cam": (plot.grad_cam, lambda: {"model": NET, "image": ONE, "label": 1, "layer": "0", "path": None}, str),
    "plot.input_gradient": (plot.input_gradient, lambda: {"model": NET, "image": ONE, "label": 1, "path": None}, str),
    "plot.occlusion": (plot.occlusion, lambda: {
        "model": NET, "image": ONE, "label": 1, "size": 3, "stride": 2, "path": None}, str),
    "plot.explanation": (plot.explanation, lambda: {"model": NET, "image": ONE, "layer": "0", "path": None}, str),
    "plot.hierarchy": (plot.hierarchy, lambda: {"model": NET, "images": np.stack([ONE, -ONE]), "path": None}, str),
    "plot.lr_find": (plot.lr_find, lambda: {
        "found": training.RangeTest((1e-3, 0.01), (2.0, 1.0), (2.0, 1.0), 1e-3, 0.01), "path": None}, str),
    "export.to_onnx": (export.to_onnx, lambda: {"model": NET, "example": ONE[None], "opset": 17}, str),
    "export.save_onnx": (export.save_onnx, lambda: {
        "model": export.to_onnx(NET, ONE[None]), "path": "m.onnx"}, str),
    "export.numpy_predictor": (export.numpy_predictor, lambda: {"trained": RUN, "path": "m.py", "data_dir": None}, str),
    "export.write_weights": (export.write_weights, lambda: {
        "trained": RUN, "out": "m.safetensors", "for_torchvision": False}, str),
    "load": (gpucnn.load, lambda: {"run": "nowhere", "weights": None, "device": "cpu"}, str),
    "load_onnx": (gpucnn.load_onnx, lambda: {"path": "nowhere"}, str),
    "serve.ServeOptions": (serve.ServeOptions, lambda: {
        field.name: field.default for field in dataclasses.fields(serve.ServeOptions)}, str),
    "training.RunConfig": (training.RunConfig, lambda: {
        field.name: field.default for field in dataclasses.fields(training.RunConfig)}, str),
}  # fmt: skip
X = Tensor(ROWS, requires_grad=True)
MODEL = layers.Sequential(layers.Flatten(), layers.Linear(64, 3))
NET = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Flatten(), layers.Linear(72, 3))
ONE = BYTES[0] / np.float32(255)
RUN = TrainedRun(
    NET, data.Preprocess(1, 8, 8, 16, "pad"), "abc",
    {"create": {"name": "net", "in_channels": 1, "image_size": 8}, "data": "digits"},
    Weights("last", Path("nowhere/model.safetensors"), {}),
)  # fmt: skip

WITHOUT_ARGUMENTS = {
    *(
        "Activation",
        "Flatten",
        "Hardsigmoid",
        "Hardswish",
        "Identity",
        "Layer",
        "Mish",
        "ReLU",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Tanh",
    ),
    *(
        "HookHandle",
        "LayerCall",
        "Trace",
        "Optimizer",
        "Schedule",
        "Splits",
        "InspectedImage",
        "Inspection",
        "Batch",
        "Dataset",
        "Box",
        "Patch",
        "names",
    ),
}
"""What takes none, or is not for users to call."""
