"""What tests have kernels compute."""

import numpy as np

from gpucnn.geometry import Window
from gpucnn.kernels.convolution import Convolution


def convolution(
    images: np.ndarray, weight: np.ndarray, window: Window, groups: int = 1, relu: bool = False
) -> Convolution:
    """That of images (N, C, H, W) with weight (O, C / groups, KH, KW)."""
    size = window.output_size((images.shape[2], images.shape[3]))
    return Convolution(images.shape, weight.shape, (len(images), len(weight), *size), window, groups, relu)
