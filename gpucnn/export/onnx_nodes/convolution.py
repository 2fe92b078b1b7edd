"""Convolutions as ONNX nodes."""

from gpucnn.checks import as_pair
from gpucnn.export.onnx_call import Call, Nodes
from gpucnn.functions.sequence import sequence_window
from gpucnn.geometry import Window


def conv2d(call: Call) -> str:
    """Conv, and then ReLU if asked for."""
    given = call.arguments
    kernel = call.fixed(call.sizes_of(given["weight"])[2:])
    window = Window.of((kernel[0], kernel[1]), given["stride"], given["padding"], given["dilation"])
    return call.activated(_conv(call, window, slice(2)))


def conv1d(call: Call) -> str:
    """Conv of one axis."""
    given = call.arguments
    (kernel,) = call.fixed(call.sizes_of(given["weight"])[2:])
    return _conv(
        call, sequence_window("conv1d", kernel, given["stride"], given["padding"], given["dilation"]), slice(1, 2)
    )


def _conv(call: Call, window: Window, axes: slice) -> str:
    """A convolution along those of the window's axes."""
    sides = list(window.padding)[axes]
    return call.put(
        "Conv",
        *_operands(call),
        kernel_shape=window.kernel[axes],
        strides=window.stride[axes],
        dilations=window.dilation[axes],
        pads=[before for before, _ in sides] + [after for _, after in sides],
        group=int(call.arguments["groups"]),
    )


def conv_transpose2d(call: Call) -> str:
    """ConvTranspose."""
    given = call.arguments
    padding = as_pair(given["padding"], "padding", 0)
    return call.put(
        "ConvTranspose",
        *_operands(call),
        kernel_shape=call.fixed(call.sizes_of(given["weight"])[2:]),
        strides=as_pair(given["stride"], "stride", 1),
        dilations=as_pair(given["dilation"], "dilation", 1),
        pads=padding * 2,
        output_padding=as_pair(given["output_padding"], "output_padding", 0),
        group=int(given["groups"]),
    )


def _operands(call: Call) -> list[str]:
    """Images, weight and, if there is one, bias."""
    given = [call.optional(name) for name in ("x", "weight", "bias")]
    return [name for name in given if name is not None]


NODES: Nodes = {"conv2d": conv2d, "conv1d": conv1d, "conv_transpose2d": conv_transpose2d}
