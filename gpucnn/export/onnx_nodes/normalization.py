"""Normalisation as ONNX nodes."""

import math

import numpy as np

from gpucnn.export.onnx_call import Call, Nodes, numbers_of


def batch_norm(call: Call) -> str:
    """BatchNormalization with the running statistics; of a batch's own, mean and variance. Then the residual, and ReLU."""
    given, channels = call.arguments, call.node.shape[1]
    if given["training"]:
        axes = [axis for axis in range(len(call.sizes)) if axis != 1]
        output = _scaled(call, _standardized(call, call.x, axes), len(call.sizes) - 2)
    else:
        scale, shift = call.optional("weight"), call.optional("bias")
        scale = call.graph.array(np.ones(channels, call.dtype)) if scale is None else scale
        shift = call.graph.array(np.zeros(channels, call.dtype)) if shift is None else shift
        mean, variance = (call.value(given[name], call.dtype) for name in ("running_mean", "running_var"))
        eps = given["eps"]
        if call.dtype == np.float64:  # of which the attribute, a float32, is not enough
            variance, eps = call.put("Add", variance, call.number(eps)), 0.0
        # Before opset 14 onnx's reference evaluator takes the momentum for a share of the batch's own statistics, the rest of
        # 1, though there are none in evaluation (onnx/onnx#8442).
        momentum = 1.0 if call.graph.opset < 14 else None
        inputs = [call.x, scale, shift, mean, variance]
        output = call.put("BatchNormalization", *inputs, epsilon=float(eps), momentum=momentum)
    if given["residual"] is not None:
        output = call.put("Add", output, call.value(given["residual"], call.dtype))
    return call.activated(output)


def layer_norm(call: Call) -> str:
    """LayerNormalization, which opset 17 brought, for float32; else mean and variance."""
    sizes = numbers_of(call.arguments["normalized_shape"])
    if call.graph.opset >= 17 and call.dtype == np.float32:
        scale, shift = call.optional("weight"), call.optional("bias")
        scale = call.graph.array(np.ones(sizes, call.dtype)) if scale is None else scale
        inputs = [call.x, scale, *([] if shift is None else [shift])]
        return call.put("LayerNormalization", *inputs, axis=-len(sizes), epsilon=float(call.arguments["eps"]))
    ndim = len(call.sizes)
    return _scaled(call, _standardized(call, call.x, range(ndim - len(sizes), ndim)), 0)


def group_norm(call: Call) -> str:
    """GroupNormalization, which opset 21 has with one scale a channel, for float32; before, groups as channels."""
    groups, channels = int(call.arguments["num_groups"]), call.node.shape[1]
    if call.graph.opset >= 21 and call.dtype == np.float32:
        scale, shift = call.optional("weight"), call.optional("bias")
        scale = call.graph.array(np.ones(channels, call.dtype)) if scale is None else scale
        shift = call.graph.array(np.zeros(channels, call.dtype)) if shift is None else shift
        eps = float(call.arguments["eps"])
        return call.put("GroupNormalization", call.x, scale, shift, num_groups=groups, epsilon=eps)
    return _in_groups(call, groups)


def instance_norm(call: Call) -> str:
    """InstanceNormalization, for float32; else mean and variance."""
    return _in_groups(call, call.node.shape[1])


def _in_groups(call: Call, groups: int) -> str:
    """Each group of channels standardised, then each channel scaled and shifted."""
    batch, *rest = call.sizes
    grouped = call.reshaped(call.x, (batch, groups, math.prod(call.fixed(tuple(rest))) // groups))
    if call.dtype == np.float32:
        ones, zeros = (call.graph.array(fill(groups, call.dtype)) for fill in (np.ones, np.zeros))
        eps = float(call.arguments["eps"])
        standard = call.put("InstanceNormalization", grouped, ones, zeros, epsilon=eps)
    else:
        standard = _standardized(call, grouped, [2])
    return _scaled(call, call.reshaped(standard, call.sizes), len(call.sizes) - 2)


def _standardized(call: Call, x: str, axes: "list[int] | range") -> str:
    """x with mean 0 and variance 1 over `axes`."""
    centred = call.put("Sub", x, call.reduced("ReduceMean", x, axes))
    variance = call.reduced("ReduceMean", call.put("Mul", centred, centred), axes)
    return call.put("Div", centred, call.put("Sqrt", call.put("Add", variance, call.number(call.arguments["eps"]))))


def _scaled(call: Call, x: str, axes_after: int) -> str:
    """x times the weight plus the bias, which stand before so many axes of size 1."""
    for op, name in (("Mul", "weight"), ("Add", "bias")):
        argument = call.arguments[name]
        if argument is not None:
            along = (*call.sizes_of(argument), *[1] * axes_after)
            operand = call.value(argument, call.dtype)
            x = call.put(op, x, call.reshaped(operand, along) if axes_after else operand)
    return x


def local_response_norm(call: Call) -> str:
    """LRN where it is the same: for images, an odd size and float32; else squares pooled along the channels."""
    given = call.arguments
    size, alpha, beta, k = int(given["size"]), given["alpha"], given["beta"], given["k"]
    if size % 2 and len(call.sizes) == 4 and call.dtype == np.float32:
        return call.put("LRN", call.x, size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
    batch, channels, *rest = call.sizes
    planes = (batch, 1, channels, math.prod(call.fixed(tuple(rest))))
    squares = call.reshaped(call.put("Mul", call.x, call.x), planes)
    borders = [0, 0, size // 2, 0, 0, 0, (size - 1) // 2, 0]
    bordered = call.put("Pad", squares, call.ints(borders), call.number(0))
    means = call.reshaped(call.put("AveragePool", bordered, kernel_shape=[size, 1], strides=[1, 1]), call.sizes)
    base = call.put("Add", call.put("Mul", means, call.number(alpha)), call.number(k))
    return call.put("Div", call.x, call.put("Pow", base, call.number(beta)))


NODES: Nodes = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "local_response_norm": local_response_norm,
}
