"""Functions as ONNX nodes, one family a file: each takes a `Call` and gives the name of what comes out."""

from gpucnn.checks import public_names as _public_names
from gpucnn.export.onnx_call import Nodes
from gpucnn.export.onnx_nodes import (
    activations,
    arithmetic,
    convolution,
    indexing,
    normalization,
    pooling,
    resizing,
    shapes,
    statistics,
)

NODES: Nodes = {
    **activations.NODES,
    **arithmetic.NODES,
    **convolution.NODES,
    **indexing.NODES,
    **normalization.NODES,
    **pooling.NODES,
    **resizing.NODES,
    **shapes.NODES,
    **statistics.NODES,
}
"""By the names of `gpucnn.functions`."""

_A_LOSS = "it is a loss, which an exported model has no labels for; give the model's answer, and compute the loss outside of it"
_PLACES = "it takes the places of maxima, and no node gives these; use F.interpolate, or F.conv_transpose2d"
_PLAIN = "it is for one plain image; use "

REFUSED = {
    **dict.fromkeys(
        (
            "binary_cross_entropy_with_logits", "cross_entropy", "focal_loss", "huber_loss", "kl_div", "l1_loss", "mse_loss",
            "nll_loss", "smooth_l1_loss",
        ),
        _A_LOSS,
    ),
    "max_unpool1d": _PLACES,
    "max_unpool2d": _PLACES,
    "convolve2d": f"{_PLAIN}F.conv2d",
    "max_pooling": f"{_PLAIN}F.max_pool2d",
}  # fmt: skip
"""What is not written, why, and what to use."""

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
