"""The update of Adam, over one flat buffer."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.launch import Kernel, accepts, launch
from gpucnn.kernels.update import loops as update_loops

ADAM = Kernel(
    Path(__file__).with_suffix(".cu"),
    "adam",
    "T* parameters, const T* gradients, T* means, T* squares, const T* settings, long long size",
)


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """Change `parameters`, `means` and `squares`, flat arrays (size,), in place, along `gradients`.

    `settings` (8,), in the parameters' dtype and on their device: lr / (1 - beta1^t), beta1, 1 - beta1, beta2,
    1 - beta2, 1 - beta2^t, eps, weight decay.
    """
    if accepts(parameters):
        launch(ADAM, parameters.size, parameters, gradients, means, squares, settings, parameters.size)
        return
    if ways.compiles(parameters, gradients, means, squares, settings):
        parts = cut(parameters.size, ELEMENT)
        loop.run(update_loops.adam(), parameters.size, [parameters, gradients, means, squares, settings], parts)
        return
    rate, beta1, fresh1, beta2, fresh2, correction2, eps, weight_decay = settings
    slope = gradients + weight_decay * parameters if weight_decay else gradients
    means *= beta1
    means += fresh1 * slope
    squares *= beta2
    squares += fresh2 * (slope * slope)
    root = xp_of(parameters).sqrt(squares / correction2)
    root += eps
    parameters -= rate * means / root
