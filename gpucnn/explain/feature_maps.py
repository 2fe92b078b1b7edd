"""What each layer of a model makes of an image."""

import numpy as np

from gpucnn.autograd import Operand, Tensor, no_grad
from gpucnn.explain.given import as_image, as_model, on_host
from gpucnn.explain.layer_calls import innermost, noting_layers
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating


def feature_maps(model: Layer, image: Operand) -> dict[str, np.ndarray]:
    """The feature maps of an image, layer by layer: path -> float64 (C, h, w), in the order in which they are computed.

    Of the layers that have no others within, those that give maps (N, C, H, W), 1x1 too. What a layer gives when it is called
    once more has the path "pool (2)", and so on. `image` is (C, H, W) or (1, C, H, W), floats in the form that the model takes.
    Raises ShapeError for what is not one image. The model is left as it was.
    """
    model = as_model("feature_maps", model)
    x = as_image("feature_maps", model, image)
    with no_grad(), evaluating(model), noting_layers(innermost(model)) as calls:
        model(x)
    found: dict[str, np.ndarray] = {}
    times: dict[str, int] = {}
    for call in calls:
        path = call.layer.path
        times[path] = times.get(path, 0) + 1
        if isinstance(call.output, Tensor) and call.output.ndim == 4:
            found[path if times[path] == 1 else f"{path} ({times[path]})"] = on_host(call.output)[0]
    return found
