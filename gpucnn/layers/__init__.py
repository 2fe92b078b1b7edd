"""Layers: parameters with a function call. Subclass `Layer`, assign layers and parameters, write `forward`."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.layers.activation import ELU as ELU
from gpucnn.layers.activation import GELU as GELU
from gpucnn.layers.activation import SELU as SELU
from gpucnn.layers.activation import Activation as Activation
from gpucnn.layers.activation import Hardsigmoid as Hardsigmoid
from gpucnn.layers.activation import Hardswish as Hardswish
from gpucnn.layers.activation import LeakyReLU as LeakyReLU
from gpucnn.layers.activation import Mish as Mish
from gpucnn.layers.activation import PReLU as PReLU
from gpucnn.layers.activation import ReLU as ReLU
from gpucnn.layers.activation import ReLU6 as ReLU6
from gpucnn.layers.activation import Sigmoid as Sigmoid
from gpucnn.layers.activation import SiLU as SiLU
from gpucnn.layers.activation import Softmax as Softmax
from gpucnn.layers.activation import Softplus as Softplus
from gpucnn.layers.activation import Tanh as Tanh
from gpucnn.layers.checkpoint import Checkpoint as Checkpoint
from gpucnn.layers.container import Branches as Branches
from gpucnn.layers.container import Identity as Identity
from gpucnn.layers.container import Lambda as Lambda
from gpucnn.layers.container import Residual as Residual
from gpucnn.layers.container import Sequential as Sequential
from gpucnn.layers.conv import Conv2d as Conv2d
from gpucnn.layers.conv import ConvLayer as ConvLayer
from gpucnn.layers.conv import ConvTranspose2d as ConvTranspose2d
from gpucnn.layers.conv import SeparableConv2d as SeparableConv2d
from gpucnn.layers.dropout import Dropout as Dropout
from gpucnn.layers.dropout import Dropout2d as Dropout2d
from gpucnn.layers.dropout import StochasticDepth as StochasticDepth
from gpucnn.layers.hooks import HookHandle as HookHandle
from gpucnn.layers.initialization import initializer as initializer
from gpucnn.layers.layer import Layer as Layer
from gpucnn.layers.linear import Flatten as Flatten
from gpucnn.layers.linear import Linear as Linear
from gpucnn.layers.lists import LayerDict as LayerDict
from gpucnn.layers.lists import LayerList as LayerList
from gpucnn.layers.lists import ParameterList as ParameterList
from gpucnn.layers.normalization import BatchNorm1d as BatchNorm1d
from gpucnn.layers.normalization import BatchNorm2d as BatchNorm2d
from gpucnn.layers.normalization import GroupNorm as GroupNorm
from gpucnn.layers.normalization import InstanceNorm2d as InstanceNorm2d
from gpucnn.layers.normalization import LayerNorm as LayerNorm
from gpucnn.layers.normalization import LocalResponseNorm as LocalResponseNorm
from gpucnn.layers.parameter import Buffer as Buffer
from gpucnn.layers.parameter import Parameter as Parameter
from gpucnn.layers.pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from gpucnn.layers.pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from gpucnn.layers.pooling import AvgPool2d as AvgPool2d
from gpucnn.layers.pooling import MaxPool2d as MaxPool2d
from gpucnn.layers.pooling import MaxPoolLayer as MaxPoolLayer
from gpucnn.layers.sequence import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from gpucnn.layers.sequence import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from gpucnn.layers.sequence import AvgPool1d as AvgPool1d
from gpucnn.layers.sequence import Conv1d as Conv1d
from gpucnn.layers.sequence import MaxPool1d as MaxPool1d
from gpucnn.layers.trace import LayerCall as LayerCall
from gpucnn.layers.trace import Trace as Trace
from gpucnn.layers.views import MeanOfViews as MeanOfViews
from gpucnn.layers.whitening import whiten as whiten

_ELSEWHERE = {
    "Module": "Layer",
    "ModuleList": "LayerList",
    "ModuleDict": "LayerDict",
    "ParameterDict": "a Layer with register_parameter(name, parameter), or ParameterList",
    "init": 'initialize=, of each layer, e.g. Conv2d(1, 8, 3, initialize="he_normal")',
    "functional": "gpucnn.functions",
    "utils": "gpucnn.optim: clip_gradient_norm, clip_gradient_value",
    "CrossEntropyLoss": "functions.cross_entropy(logits, labels)",
    "NLLLoss": "functions.nll_loss(log_probabilities, labels)",
    "BCEWithLogitsLoss": "functions.binary_cross_entropy_with_logits(logits, targets)",
    "BCELoss": "functions.binary_cross_entropy_with_logits(logits, targets), of what goes into the sigmoid",
    "MSELoss": "functions.mse_loss(input, target)",
    "L1Loss": "functions.l1_loss(input, target)",
    "SmoothL1Loss": "functions.smooth_l1_loss(input, target)",
    "HuberLoss": "functions.huber_loss(input, target)",
    "KLDivLoss": "functions.kl_div(input, target)",
    "LogSoftmax": "Lambda(lambda x: functions.log_softmax(x, axis=1))",
    "Softmax2d": "Softmax(axis=1)",
    "Hardtanh": "Lambda(lambda x: functions.clip(x, -1, 1))",
    "Unflatten": "Lambda(lambda x: x.reshape(len(x), *shape))",
    "Upsample": "Lambda(lambda x: functions.interpolate(x, scale_factor=2))",
    "UpsamplingNearest2d": "Lambda(lambda x: functions.interpolate(x, scale_factor=2))",
    "UpsamplingBilinear2d": 'Lambda(lambda x: functions.interpolate(x, scale_factor=2, mode="bilinear"))',
    "ZeroPad2d": "Lambda(lambda x: functions.pad(x, borders)), or padding= of the layer behind it",
    "ReflectionPad2d": 'Lambda(lambda x: functions.pad(x, borders, mode="reflect"))',
    "ReplicationPad2d": 'Lambda(lambda x: functions.pad(x, borders, mode="replicate"))',
    "LazyConv2d": "Conv2d(in_channels, ...); the message for a wrong number tells the right one",
    "LazyLinear": "Linear(in_features, ...); the message for a wrong number tells the right one",
    "SyncBatchNorm": "BatchNorm2d, on one GPU",
    "DataParallel": "the model itself, on one GPU",
    "DropPath": "StochasticDepth",
    "Dense": "Linear(in_features, out_features)",
    "BatchNormalization": "BatchNorm2d",
    "GlobalAveragePooling2D": "AdaptiveAvgPool2d(1), and Flatten",
    "MaxPooling2D": "MaxPool2d",
    "AveragePooling2D": "AvgPool2d",
    "Add": "Residual(block)",
    "Concatenate": "Branches(*layers)",
    "DepthwiseConv2D": "Conv2d(channels, channels, 3, groups=channels)",
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Embedding", "MultiheadAttention", "Transformer"), "not here: gpucnn has the layers of convolutional networks"),
    **dict.fromkeys(("Conv3d", "MaxPool3d", "AvgPool3d", "BatchNorm3d", "ConvTranspose3d"), "not here: images have two axes, sequences one"),
}  # fmt: skip
"""Names in PyTorch, or Keras, and what does the same here."""


def __getattr__(name: str) -> object:
    raise _unknown_name("layers", name, globals(), _ELSEWHERE)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
