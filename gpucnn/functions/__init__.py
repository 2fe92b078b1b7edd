"""Differentiable operations, one family per file, under the names and argument orders of torch.nn.functional.

Where NumPy and PyTorch differ in a word, NumPy's stands: `axis`, not `dim`.
"""

from gpucnn.autograd import torch_words as _torch_words
from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.functions import operators as operators
from gpucnn.functions.activation import hardsigmoid as hardsigmoid
from gpucnn.functions.activation import hardswish as hardswish
from gpucnn.functions.activation import leaky_relu as leaky_relu
from gpucnn.functions.activation import log_softmax as log_softmax
from gpucnn.functions.activation import prelu as prelu
from gpucnn.functions.activation import relu as relu
from gpucnn.functions.activation import relu6 as relu6
from gpucnn.functions.activation import softmax as softmax
from gpucnn.functions.arithmetic import abs as abs
from gpucnn.functions.arithmetic import add as add
from gpucnn.functions.arithmetic import clip as clip
from gpucnn.functions.arithmetic import divide as divide
from gpucnn.functions.arithmetic import exp as exp
from gpucnn.functions.arithmetic import log as log
from gpucnn.functions.arithmetic import matmul as matmul
from gpucnn.functions.arithmetic import maximum as maximum
from gpucnn.functions.arithmetic import minimum as minimum
from gpucnn.functions.arithmetic import multiply as multiply
from gpucnn.functions.arithmetic import negative as negative
from gpucnn.functions.arithmetic import power as power
from gpucnn.functions.arithmetic import sqrt as sqrt
from gpucnn.functions.arithmetic import subtract as subtract
from gpucnn.functions.arithmetic import where as where
from gpucnn.functions.binary_loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from gpucnn.functions.binary_loss import focal_loss as focal_loss
from gpucnn.functions.conv import conv2d as conv2d
from gpucnn.functions.conv import conv_transpose2d as conv_transpose2d
from gpucnn.functions.conversion import astype as astype
from gpucnn.functions.conversion import clone as clone
from gpucnn.functions.dropout import dropout as dropout
from gpucnn.functions.dropout import dropout2d as dropout2d
from gpucnn.functions.dropout import stochastic_depth as stochastic_depth
from gpucnn.functions.indexing import getitem as getitem
from gpucnn.functions.joining import concatenate as concatenate
from gpucnn.functions.joining import split as split
from gpucnn.functions.joining import stack as stack
from gpucnn.functions.linear import linear as linear
from gpucnn.functions.loss import cross_entropy as cross_entropy
from gpucnn.functions.loss import kl_div as kl_div
from gpucnn.functions.loss import nll_loss as nll_loss
from gpucnn.functions.normalization import batch_norm as batch_norm
from gpucnn.functions.normalization import group_norm as group_norm
from gpucnn.functions.normalization import instance_norm as instance_norm
from gpucnn.functions.normalization import layer_norm as layer_norm
from gpucnn.functions.normalization import local_response_norm as local_response_norm
from gpucnn.functions.padding import pad as pad
from gpucnn.functions.plain_arrays import convolve2d as convolve2d
from gpucnn.functions.plain_arrays import max_pooling as max_pooling
from gpucnn.functions.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from gpucnn.functions.pooling import adaptive_max_pool2d as adaptive_max_pool2d
from gpucnn.functions.pooling import avg_pool2d as avg_pool2d
from gpucnn.functions.pooling import max_pool2d as max_pool2d
from gpucnn.functions.pooling import max_unpool2d as max_unpool2d
from gpucnn.functions.regression_loss import huber_loss as huber_loss
from gpucnn.functions.regression_loss import l1_loss as l1_loss
from gpucnn.functions.regression_loss import mse_loss as mse_loss
from gpucnn.functions.regression_loss import smooth_l1_loss as smooth_l1_loss
from gpucnn.functions.resize import interpolate as interpolate
from gpucnn.functions.sequence import adaptive_avg_pool1d as adaptive_avg_pool1d
from gpucnn.functions.sequence import adaptive_max_pool1d as adaptive_max_pool1d
from gpucnn.functions.sequence import avg_pool1d as avg_pool1d
from gpucnn.functions.sequence import conv1d as conv1d
from gpucnn.functions.sequence import max_pool1d as max_pool1d
from gpucnn.functions.sequence import max_unpool1d as max_unpool1d
from gpucnn.functions.shape import expand_dims as expand_dims
from gpucnn.functions.shape import flatten as flatten
from gpucnn.functions.shape import reshape as reshape
from gpucnn.functions.shape import squeeze as squeeze
from gpucnn.functions.shape import transpose as transpose
from gpucnn.functions.smooth_activation import elu as elu
from gpucnn.functions.smooth_activation import gelu as gelu
from gpucnn.functions.smooth_activation import mish as mish
from gpucnn.functions.smooth_activation import selu as selu
from gpucnn.functions.smooth_activation import sigmoid as sigmoid
from gpucnn.functions.smooth_activation import silu as silu
from gpucnn.functions.smooth_activation import softplus as softplus
from gpucnn.functions.smooth_activation import tanh as tanh
from gpucnn.functions.statistics import argmax as argmax
from gpucnn.functions.statistics import argmin as argmin
from gpucnn.functions.statistics import max as max
from gpucnn.functions.statistics import mean as mean
from gpucnn.functions.statistics import min as min
from gpucnn.functions.statistics import sum as sum
from gpucnn.functions.statistics import var as var

_torch_words.HERE.update(name for name, value in globals().items() if callable(value) and not name.startswith("_"))


def __getattr__(name: str) -> object:
    raise _unknown_name("functions", name, _torch_words.HERE, _torch_words.FUNCTIONS)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
