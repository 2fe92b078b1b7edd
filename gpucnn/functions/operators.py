"""The functions behind the operators and methods of tensors, and behind NumPy's functions of these names on them."""

from gpucnn.autograd.tensor import OPERATORS
from gpucnn.functions import arithmetic, indexing, shape, statistics

OPERATORS.update(
    add=arithmetic.add,
    subtract=arithmetic.subtract,
    multiply=arithmetic.multiply,
    divide=arithmetic.divide,
    maximum=arithmetic.maximum,
    minimum=arithmetic.minimum,
    negative=arithmetic.negative,
    absolute=arithmetic.abs,
    power=arithmetic.power,
    sqrt=arithmetic.sqrt,
    exp=arithmetic.exp,
    log=arithmetic.log,
    matmul=arithmetic.matmul,
    sum=statistics.sum,
    mean=statistics.mean,
    var=statistics.var,
    max=statistics.max,
    min=statistics.min,
    reshape=shape.reshape,
    transpose=shape.transpose,
    getitem=indexing.getitem,
)
