"""gpucnn: train convolutional neural networks on an NVIDIA GPU with CuPy, or on a laptop with NumPy, from one source."""

from gpucnn import autograd as autograd
from gpucnn import data as data
from gpucnn import errors as errors
from gpucnn import functions as functions
from gpucnn import layers as layers
from gpucnn import models as models
from gpucnn import optim as optim
from gpucnn import training as training
from gpucnn.autograd import Tensor as Tensor
from gpucnn.autograd import gradcheck as gradcheck
from gpucnn.autograd import no_grad as no_grad
from gpucnn.functions import convolve2d as convolve2d
from gpucnn.functions import max_pooling as max_pooling

__version__ = "0.1.0"
