"""What each layer of a model makes of an image."""

import numpy as np

from gpucnn.autograd import Operand, Tensor, no_grad
from gpucnn.explain.given import as_image, as_layer, as_model, on_host
from gpucnn.explain.layer_calls import innermost, maps_of, noting_layers
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating


def feature_maps(model: Layer, image: Operand, layer: str | Layer | None = None) -> dict[str, np.ndarray]:
    """The feature maps of an image, layer by layer: path -> float64 (C, h, w), in the order in which they are computed.

    Of the layers that have no others within, or of `layer` alone, a path or a layer of the model that may be a block, those that
    give maps (N, C, H, W), 1x1 too. What a layer gives when it is called once more has the path "pool (2)", and so on. `image` is
    (C, H, W) or (1, C, H, W), floats in the form that the model takes. Raises ShapeError for what is not one image, ArgumentError
    for a `layer` that the model has not, or that gives no maps. The model is left as it was.
    """
    owner = "feature_maps"
    model = as_model(owner, model)
    chosen = None if layer is None else as_layer(owner, model, layer)
    x = as_image(owner, model, image)
    with no_grad(), evaluating(model), noting_layers(innermost(model) if chosen is None else [chosen]) as calls:
        model(x)
    if chosen is not None:
        maps_of(owner, chosen, calls)  # which says where there are none
    found: dict[str, np.ndarray] = {}
    times: dict[str, int] = {}
    for call in calls:
        path = call.layer.path
        times[path] = times.get(path, 0) + 1
        if isinstance(call.output, Tensor) and call.output.ndim == 4:
            found[path if times[path] == 1 else f"{path} ({times[path]})"] = on_host(call.output)[0]
    return found
