"""The gradient of a class's score by the image: which pixels would change it most.

Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image classification models and
saliency maps", arXiv:1312.6034, 2014.
"""

import numpy as np

from gpucnn.autograd import Operand, enable_grad, grad
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image, as_model, check_label, on_host
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating


def input_gradient(model: Layer, image: Operand, label: int) -> np.ndarray:
    """By how much the score of class `label`, its logit, rises with each number of the image: float64 (C, H, W).

    `image` is (C, H, W) or (1, C, H, W), floats in the form that the model takes. Of a model that labels every pixel it is the
    sum of all pixels' scores. Raises ArgumentError for a label that the model has not, ShapeError for what is not one image. The
    model is left as it was.
    """
    owner = "input_gradient"
    model = as_model(owner, model)
    x = as_image(owner, model, image)
    x.requires_grad = True
    with enable_grad(), evaluating(model):
        logits = model(x)
        label = check_label(owner, label, logits)
        (gradient,) = grad(logits[0, label].sum(), x, allow_unused=True) if logits.requires_grad else (None,)
    if gradient is None:
        raise ArgumentError(f"{owner}: the scores of {model.label} do not depend on the image")
    by_pixel: np.ndarray = on_host(gradient)[0]
    return by_pixel
