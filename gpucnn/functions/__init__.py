"""Differentiable operations, one family a file, under the names and argument orders of torch.nn.functional.

Where NumPy and PyTorch differ in a word, NumPy's stands: `axis`, not `dim`.
"""

from gpucnn.functions.activation import log_softmax as log_softmax
from gpucnn.functions.activation import relu as relu
from gpucnn.functions.activation import softmax as softmax
from gpucnn.functions.array import add as add
from gpucnn.functions.array import divide as divide
from gpucnn.functions.array import exp as exp
from gpucnn.functions.array import flatten as flatten
from gpucnn.functions.array import log as log
from gpucnn.functions.array import matmul as matmul
from gpucnn.functions.array import maximum as maximum
from gpucnn.functions.array import mean as mean
from gpucnn.functions.array import multiply as multiply
from gpucnn.functions.array import negative as negative
from gpucnn.functions.array import power as power
from gpucnn.functions.array import reshape as reshape
from gpucnn.functions.array import subtract as subtract
from gpucnn.functions.array import sum as sum
from gpucnn.functions.array import transpose as transpose
from gpucnn.functions.conv import conv2d as conv2d
from gpucnn.functions.dropout import dropout as dropout
from gpucnn.functions.linear import linear as linear
from gpucnn.functions.loss import cross_entropy as cross_entropy
from gpucnn.functions.plain_arrays import convolve2d as convolve2d
from gpucnn.functions.plain_arrays import max_pooling as max_pooling
from gpucnn.functions.pooling import avg_pool2d as avg_pool2d
from gpucnn.functions.pooling import max_pool2d as max_pool2d
