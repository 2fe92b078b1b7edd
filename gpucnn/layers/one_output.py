"""What a model gives, where one tensor is needed: of several the user says which."""

from collections.abc import Mapping
from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.errors import ShapeError
from gpucnn.text import names_text


def one_output(owner: str, output: Any) -> Tensor:
    """`output` itself; ShapeError, which names `owner`, for a tuple, a dict or anything else that is no tensor."""
    if isinstance(output, Tensor):
        return output
    what, which = f"a {type(output).__name__}", ""
    if isinstance(output, Mapping) and output:
        what += f" of {names_text([str(name) for name in output])}"
        which = f", e.g. the net's {next(iter(output))!r}: net(x)[{next(iter(output))!r}]"
    elif isinstance(output, tuple | list) and output:
        what += f" of {len(output)}"
        which = ", e.g. the first that the net gives: net(x)[0]"
    raise ShapeError(
        f"{owner}: the model must give one tensor, this one gives {what}; wrap it in a Layer whose forward gives one{which}"
    )
