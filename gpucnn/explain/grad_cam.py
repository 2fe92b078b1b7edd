"""Grad-CAM: where in an image the evidence for a class is.

Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017. Of
models that label every pixel the scores of all pixels are added, as in Vinogradova et al., "Towards interpretable semantic
segmentation via gradient-weighted class activation mapping", AAAI 2020.
"""

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, enable_grad, grad, no_grad
from gpucnn.autograd.calls import FunctionCall, noting_calls
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image, as_layer, as_model, check_label, on_host
from gpucnn.explain.last_map import last_map_of
from gpucnn.explain.layer_calls import maps_of, noting_layers
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh",
)  # fmt: skip
"""Functions that models call where others have a layer."""


def grad_cam(model: Layer, image: Operand, label: int, layer: str | Layer | None = None) -> np.ndarray:
    """How much each pixel's surroundings speak for the class `label`: float64 (H, W) from 0 to 1, the image's size.

    The maps of a layer, each weighted by the mean gradient of the class's score, are added; what is below 0 speaks for other
    classes, and is cut off. The sum is enlarged bilinearly, centres of pixels upon centres, and divided by its largest value:
    all zeros where nothing speaks for the class. Units are placed evenly over the whole image, as in the paper, though those of
    a net without padding see more of the middle: `receptive_field` tells what each of them sees.

    - `image`: (C, H, W) or (1, C, H, W), floats in the form that the model takes.
    - `layer`: a path, as in `model.named_layers()`, or a layer of the model; by default the one that gives the last map larger
      than 1x1, see `last_map`, with the activation that follows it at once. Of a layer that is called several times the last
      call counts.

    Raises ArgumentError for a model without maps, a layer that gives none, and a label that the model has not; ShapeError for
    what is not one image. The model is left as it was: modes, gradients, statistics, hooks.
    """
    owner = "grad_cam"
    model = as_model(owner, model)
    chosen = None if layer is None else as_layer(owner, model, layer)
    x = as_image(owner, model, image)
    x.requires_grad = True  # so that there is a tape, also where all layers are frozen
    watched = [one for _, one in model.named_layers()] if chosen is None else [chosen]
    with enable_grad(), evaluating(model):
        with noting_layers(watched) as layer_calls, noting_calls() as calls:
            logits = model(x)
        label = check_label(owner, label, logits)
        if chosen is None:
            last = last_map_of(
                owner, model, [one for one in layer_calls if getattr(one.output, "requires_grad", False)], logits
            )
            chosen, maps = last.layer, _activated(last.output, calls)
        else:
            maps = maps_of(owner, chosen, layer_calls)
        if not maps.requires_grad:
            raise ArgumentError(
                f"{owner}: no gradient comes to {chosen.label}, as in a Checkpoint; give the layer around it"
            )
        (gradient,) = grad(logits[0, label].sum(), maps, allow_unused=True)
    if gradient is None:
        raise ArgumentError(f"{owner}: the scores do not depend on what {chosen.label} gives; give another layer")
    weights = on_host(gradient)[0].mean(axis=(1, 2))
    evidence = np.maximum((weights[:, None, None] * on_host(maps)[0]).sum(axis=0), 0)
    with no_grad():
        enlarged: np.ndarray = F.interpolate(evidence[None, None], x.shape[2:], mode="bilinear").array[0, 0]
    largest = enlarged.max()
    return enlarged / largest if largest > 0 else enlarged


def _activated(maps: Tensor, calls: list[FunctionCall]) -> Tensor:
    """What an activation makes of the maps that is called as a function; the maps themselves, if there is none."""
    for call in calls:
        if call.name in ACTIVATIONS and call.arguments["x"] is maps:
            activated: Tensor = call.output
            return activated
    return maps
