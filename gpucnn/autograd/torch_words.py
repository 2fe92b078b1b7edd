"""PyTorch's names that go by other ones here, as messages say them."""

from collections.abc import Mapping
from typing import NoReturn

from gpucnn.errors import KeywordError

HERE: set[str] = set()
"""The names of `gpucnn.functions`, which fills this."""

KEYWORDS = {
    "ddof": ("correction",),
    "dim": ("axis",),
    "dims": ("axes",),
    "input": ("x", "logits", "predictions", "log_probabilities", "a"),
    "keepdim": ("keepdims",),
    "max": ("high",),
    "min": ("low",),
    "other": ("b",),
    "start_dim": ("start_axis",),
    "target": ("labels", "targets"),
}
"""Of arguments, with ours, of which a function has one."""

TENSOR = {
    "add_": "x = x + y, as tensors do not change in place",
    "bool": "x.astype('bool')",
    "byte": "x.astype('uint8')",
    "chunk": "F.split(x, sizes, axis)",
    "clamp": "x.clip(low, high)",
    "contiguous": "x itself: arrays need not be contiguous",
    "copy": "x.clone()",
    "copy_": "parameter.assign(values) for what learns, or x.data[...] = values",
    "dim": "x.ndim",
    "div_": "x = x / y, as tensors do not change in place",
    "double": "x.astype('float64')",
    "eq": "x == y",
    "expand": "NumPy's broadcasting, which operators do by themselves",
    "fill_": "x.data.fill(value)",
    "flip": "x[:, :, :, ::-1], of the last of four axes",
    "float": "x.astype('float32')",
    "gather": "x[np.arange(len(x)), labels]",
    "ge": "x >= y",
    "grad_fn": "x.node",
    "gt": "x > y",
    "half": "x.astype('float16')",
    "int": "x.astype('int32')",
    "is_cuda": "x.device.kind == 'cuda'",
    "le": "x <= y",
    "long": "x.astype('int64')",
    "lt": "x < y",
    "masked_fill": "F.where(mask, value, x)",
    "mm": "x @ y",
    "bmm": "x @ y",
    "mul_": "x = x * y, as tensors do not change in place",
    "ne": "x != y",
    "neg": "-x",
    "norm": "(x * x).sum().sqrt()",
    "numel": "x.size",
    "permute": "x.transpose(axes)",
    "pow": "x ** y",
    "prod": "x.log().sum().exp() of positive numbers, or tensor.numpy().prod() without a gradient",
    "repeat": "F.concatenate([x, x], axis)",
    "sign": "np.sign(x)",
    "sort": "np.sort(x.numpy())",
    "std": "x.var(axis).sqrt()",
    "sub_": "x = x - y, as tensors do not change in place",
    "swapaxes": "x.transpose(axes), with all axes in their new order",
    "t": "x.T",
    "topk": "np.argsort(-x.numpy(), axis=1)[:, :k]",
    "type": "x.dtype to ask, x.astype(dtype) to convert",
    "unsqueeze": "F.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
    "view_as": "x.reshape(y.shape)",
    "zero_": "x.data.fill(0)",
}
"""Of tensors' methods, with what to write here."""

FUNCTIONS = {
    "arange": "np.arange, given to Tensor",
    "argsort": "np.argsort(x)",
    "as_tensor": "Tensor(values)",
    "avg_pool3d": "not here: images have two axes",
    "binary_cross_entropy": "F.binary_cross_entropy_with_logits, of what comes before the sigmoid",
    "bmm": "F.matmul",
    "cat": "F.concatenate(tensors, axis)",
    "chunk": "F.split(x, sizes, axis)",
    "clamp": "F.clip(x, low, high)",
    "conv3d": "not here: images have two axes",
    "cosine_similarity": "(a * b).sum(axis) / ((a * a).sum(axis) * (b * b).sum(axis)).sqrt()",
    "div": "F.divide",
    "eq": "a == b",
    "eye": "np.eye, given to Tensor",
    "from_numpy": "Tensor(array)",
    "hardtanh": "F.clip(x, -1, 1)",
    "logsigmoid": "-F.softplus(-x)",
    "mm": "F.matmul",
    "mul": "F.multiply",
    "neg": "F.negative",
    "no_grad": "gpucnn.no_grad()",
    "norm": "(x * x).sum().sqrt()",
    "normalize": "x / (x * x).sum(axis, True).sqrt()",
    "one_hot": "np.eye(classes)[labels]",
    "ones": "Tensor(np.ones(shape, 'float32'))",
    "ones_like": "Tensor(np.ones(x.shape, x.dtype))",
    "permute": "F.transpose(x, axes)",
    "pow": "F.power",
    "rand": "np.random.default_rng(seed).random(shape), given to Tensor",
    "randn": "np.random.default_rng(seed).standard_normal(shape), given to Tensor",
    "smooth_l1": "F.smooth_l1_loss",
    "std": "F.sqrt(F.var(x, axis))",
    "sub": "F.subtract",
    "tensor": "Tensor(values)",
    "unsqueeze": "F.expand_dims(x, axis)",
    "upsample": "F.interpolate",
    "view": "F.reshape(x, shape)",
    "zeros": "Tensor(np.zeros(shape, 'float32'))",
    "zeros_like": "Tensor(np.zeros(x.shape, x.dtype))",
}
"""Of torch's and torch.nn.functional's functions, with what to write here."""

TORCH = {
    "accelerator": "gpucnn.backend",
    "amp": "gpucnn.backend.precision('tf32'), or 'bf16'",
    "autocast": "gpucnn.backend.precision('tf32'), or 'bf16'",
    "compile": "training.CapturedStep(model, optimizer), which records a step and replays it",
    "cuda": "gpucnn.backend: choose_device('cuda'), and model.to('cuda')",
    "device": "gpucnn.backend.choose_device('cuda').device, or the plain name: model.to('cuda')",
    "export": "model.state_dict(), saved by training.save_checkpoint or safetensors.numpy",
    "float16": "the name of a NumPy dtype, 'float16'",
    "float32": "the name of a NumPy dtype, 'float32'",
    "float64": "the name of a NumPy dtype, 'float64'",
    "inference_mode": "gpucnn.no_grad()",
    "jit": "training.CapturedStep(model, optimizer), which records a step and replays it",
    "load": "gpucnn.load(RUN) for a run, models.create(name, weights=FILE) for weights, .pth too",
    "long": "the name of a NumPy dtype, 'int64'",
    "manual_seed": "seed=, of models.create, DataLoader and RunConfig: no draw has a state of its own",
    "nn": "gpucnn.layers, and gpucnn.functions for torch.nn.functional",
    "save": "training.save_checkpoint, or safetensors.numpy.save_file(model.state_dict(), path)",
    "seed": "seed=, of models.create, DataLoader and RunConfig: no draw has a state of its own",
    "set_default_device": "model.to(device): data follow the model",
    "utils": "gpucnn.data: DataLoader, split",
}
"""Of what package torch itself has beside its functions."""

OPTIMIZER_ARGUMENTS = {
    "learning_rate": "it is lr",
    "amsgrad": "leave it out: there is no AMSGrad here",
    "dampening": "leave it out: there is none here",
    "maximize": "leave it out, and minimize -loss",
    "foreach": "leave it out: all parameters take a step at once",
    "fused": "leave it out: all parameters take a step at once",
    "capturable": "leave it out: each optimizer is",
}
"""Arguments of other libraries' optimizers, and what to write here."""


def words_of_torch() -> Mapping[str, str]:
    """What stands for what package torch has: a word of TORCH, of FUNCTIONS, or else the function of that name."""
    return {**{name: f"functions.{name}" for name in HERE}, **FUNCTIONS, **TORCH}


def words_of_tensors() -> Mapping[str, str]:
    """What stands for a method that tensors do not have: a word of TENSOR, or else the function of that name."""
    return {**{name: f"F.{name}(x)" for name in HERE}, **TENSOR}


class Size(int):
    """How many elements there are: a number, though PyTorch's programs call it."""

    def __call__(self, axis: int | None = None) -> NoReturn:
        raise KeywordError(
            "Tensor.size is the number of elements; it is x.shape, or x.shape[0] for the size of one axis"
        )
