"""The functions behind the operators and methods of tensors, and behind NumPy's functions of these names on them."""

from gpucnn.autograd.tensor import OPERATORS, Tensor
from gpucnn.functions import arithmetic, conversion, indexing, joining, shape, statistics

OPERATORS.update(
    add=arithmetic.add,
    subtract=arithmetic.subtract,
    multiply=arithmetic.multiply,
    divide=arithmetic.divide,
    maximum=arithmetic.maximum,
    minimum=arithmetic.minimum,
    negative=arithmetic.negative,
    absolute=arithmetic.abs,
    abs=arithmetic.abs,
    power=arithmetic.power,
    sqrt=arithmetic.sqrt,
    exp=arithmetic.exp,
    log=arithmetic.log,
    clip=arithmetic.clip,
    where=arithmetic.where,
    matmul=arithmetic.matmul,
    sum=statistics.sum,
    mean=statistics.mean,
    var=statistics.var,
    max=statistics.max,
    min=statistics.min,
    argmax=statistics.argmax,
    argmin=statistics.argmin,
    reshape=shape.reshape,
    flatten=shape.flatten,
    squeeze=shape.squeeze,
    expand_dims=shape.expand_dims,
    transpose=shape.transpose,
    concatenate=joining.concatenate,
    stack=joining.stack,
    getitem=indexing.getitem,
    astype=conversion.astype,
    clone=conversion.clone,
)

METHODS = (
    "abs", "argmax", "argmin", "astype", "clip", "clone", "exp", "expand_dims", "flatten", "log", "max", "mean", "min", "sqrt",
    "squeeze", "sum", "var",
)  # fmt: skip
"""Functions that are methods, too, as they are: their first argument is the tensor."""

for name in METHODS:
    setattr(Tensor, name, OPERATORS[name])
