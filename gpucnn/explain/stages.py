"""The stages of a model: the layers after which maps become smaller, from edges over textures to parts.

Source: chapter 5, "Feature Hierarchies"; the stages of a model that can be frozen one by one are another thing, see
`models.ImageModel.stages`.
"""

from gpucnn.autograd import Operand, no_grad
from gpucnn.explain.given import as_image, as_model
from gpucnn.explain.last_map import new_maps
from gpucnn.explain.layer_calls import noting_layers
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output

FILTER_AXES = 4
"""Of the weights of a layer that has filters."""


def stages(model: Layer, image: Operand) -> list[str]:
    """The paths of the layers that give the last maps of each size, one after the other; empty for a model without maps.

    What a block gives counts before what layers within the next one give. Maps that come of pooling alone, without filters, are
    no stage. `image` is (C, H, W) or (1, C, H, W), of which the size counts alone. Raises ShapeError for what is not one image.
    The model is left as it was.
    """
    model = as_model("stages", model)
    x = as_image("stages", model, image)
    with no_grad(), evaluating(model), noting_layers(layer for _, layer in model.named_layers()) as calls:
        logits = one_output("stages", model(x))
    # How deep within the model each output is made: that of a block's last layer is the block's own, too.
    depths: dict[int, int] = {}
    for call in calls:
        depth = call.layer.path.count(".")
        depths[id(call.output)] = min(depth, depths.get(id(call.output), depth))
    found: list[tuple[str, int]] = []
    size, has_filters, is_new = None, False, True
    for call in new_maps(calls, logits):
        if call.output.shape[2:] != size:
            size, has_filters, is_new = call.output.shape[2:], False, True
        has_filters = has_filters or any(one.ndim == FILTER_AXES for one in call.layer.parameters())
        depth = depths[id(call.output)]
        if has_filters and is_new:
            found.append((call.layer.path, depth))
            is_new = False
        elif has_filters and depth <= found[-1][1]:
            found[-1] = call.layer.path, depth
    return [path for path, _ in found]
