"""Which public functions and layers PyTorch has, too."""

from gpucnn import functions as F
from gpucnn import layers

EXEMPT = {
    "Layer": "the base class of layers",
    "Activation": "the base class of activation layers",
    "LayerList": "computes nothing by itself; see tests/pytorch/test_habits.py",
    "LayerDict": "computes nothing by itself; see tests/pytorch/test_habits.py",
    "ParameterList": "computes nothing by itself; see tests/pytorch/test_habits.py",
    "ConvLayer": "the chapter's name for Conv2d, the same class",
    "MaxPoolLayer": "MaxPool2d with the chapter's arguments",
    "StochasticDepth": "torchvision's alone; its masks are tested in tests/functions/test_dropout.py",
    "stochastic_depth": "torchvision's alone, as the layer",
}
"""Names without a counterpart in PyTorch, each with the reason."""


def public_layers() -> set[str]:
    return {name for name, value in vars(layers).items() if isinstance(value, type) and issubclass(value, layers.Layer)}


def public_functions() -> set[str]:
    return {name for name, value in vars(F).items() if callable(value) and not name.startswith("_")}


def public_names() -> set[str]:
    return public_functions() | public_layers()
