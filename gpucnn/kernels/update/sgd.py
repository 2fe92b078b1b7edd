"""The update of stochastic gradient descent with momentum, over one flat buffer."""

from pathlib import Path

from gpucnn.backend import Array
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.launch import Kernel, accepts, launch
from gpucnn.kernels.update import loops as update_loops

SGD = Kernel(
    Path(__file__).with_suffix(".cu"),
    "sgd",
    "T* parameters, const T* gradients, T* velocities = null, const T* settings, long long size, int nesterov",
)


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """Change `parameters` and `velocities`, flat arrays (size,), in place, along `gradients`.

    `settings` (3,), in the parameters' dtype and on their device: learning rate, momentum, weight decay. Without
    `velocities` there is no momentum.
    """
    if accepts(parameters):
        launch(SGD, parameters.size, parameters, gradients, velocities, settings, parameters.size, int(nesterov))
        return
    if ways.compiles(parameters, gradients, velocities, settings):
        arrays = [parameters, gradients, settings, *([] if velocities is None else [velocities])]
        parts = cut(parameters.size, ELEMENT)
        loop.run(update_loops.sgd(velocities is not None, nesterov), parameters.size, arrays, parts)
        return
    lr, momentum, weight_decay = settings
    slope = gradients + weight_decay * parameters if weight_decay else gradients
    if velocities is not None:
        velocities *= momentum
        velocities += slope
        slope = slope + momentum * velocities if nesterov else velocities
    parameters -= lr * slope
