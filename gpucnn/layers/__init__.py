"""Layers: parameters with a function call. Subclass `Layer`, assign layers and parameters, write `forward`."""

from gpucnn.layers.activation import ReLU as ReLU
from gpucnn.layers.container import Sequential as Sequential
from gpucnn.layers.conv import Conv2d as Conv2d
from gpucnn.layers.conv import ConvLayer as ConvLayer
from gpucnn.layers.dropout import Dropout as Dropout
from gpucnn.layers.flatten import Flatten as Flatten
from gpucnn.layers.layer import Layer as Layer
from gpucnn.layers.linear import Linear as Linear
from gpucnn.layers.parameter import Parameter as Parameter
from gpucnn.layers.pooling import AvgPool2d as AvgPool2d
from gpucnn.layers.pooling import MaxPool2d as MaxPool2d
from gpucnn.layers.pooling import MaxPoolLayer as MaxPoolLayer
from gpucnn.layers.trace import LayerCall as LayerCall
from gpucnn.layers.trace import Trace as Trace
