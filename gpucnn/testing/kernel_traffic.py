"""What a launch of one of our CUDA kernels reads and writes, as its arguments and its source tell."""

import functools
import re
from typing import Any, NamedTuple

from gpucnn.backend import own_package
from gpucnn.kernels.kernel import Kernel, Variant

_ASSIGNED = r"\s*=(?!=)"


class Traffic(NamedTuple):
    """Bytes of a device's memory, and FLOPs, as an `Operation` has them."""

    read: int
    written: int
    flops: int


def traffic(kernel: Kernel, variant: Variant, arguments: tuple[Any, ...]) -> Traffic:
    """Of one launch, every array counted once: what a kernel reads again comes from a cache.

    A pointer to `const` is read. Any other is written, and read as well if the kernel's own body looks into it; what it hands
    on to a function is not looked at. An array that indices choose from counts as a whole. None moves nothing.
    """
    read = written = elements = 0
    for parameter, argument in zip(kernel.arguments, arguments, strict=True):
        if not parameter.pointer or argument is None:
            continue
        elements = max(elements, argument.size)
        if not parameter.const:
            written += argument.nbytes
        if parameter.const or parameter.name in _updated(kernel):
            read += argument.nbytes
    if kernel.multiply_adds is None:
        return Traffic(read, written, elements)
    return Traffic(read, written, 2 * kernel.multiply_adds(sizes_of(kernel, variant, arguments)))


def sizes_of(kernel: Kernel, variant: Variant, arguments: tuple[Any, ...]) -> dict[str, int]:
    """The integers of a launch, and its constants, by name."""
    pairs = zip(kernel.arguments, arguments, strict=True)
    return {own.name: int(number) for own, number in pairs if own.type == "I"} | dict(variant.constants)


@functools.cache
def _updated(kernel: Kernel) -> frozenset[str]:
    """The arrays that a kernel writes and reads: they stand with an index where nothing is assigned, or in front of `+=`."""
    body = _body(own_package.read(kernel.source).decode(), kernel.name)
    written = [parameter.name for parameter in kernel.arguments if parameter.pointer and not parameter.const]
    return frozenset(name for name in written if any(not assigned for assigned in _uses(body, name)))


def _uses(body: str, name: str) -> list[bool]:
    """For every `name[...]`, whether it is only assigned to."""
    found = []
    for match in re.finditer(rf"\b{name}\[", body):
        end = match.end() + _closing(body[match.end() :], "[", "]")
        found.append(re.match(_ASSIGNED, body[end:]) is not None)
    return found


def _body(source: str, name: str) -> str:
    """The text between the braces of the function called `name`, without comments."""
    source = re.sub(r"//[^\n]*", "", source)
    head = re.search(rf"\b{name}\s*\([^{{]*\{{", source)
    if head is None:
        return ""
    return source[head.end() : head.end() + _closing(source[head.end() :], "{", "}")]


def _closing(text: str, opening: str, closing: str) -> int:
    """The place behind the bracket that closes one which was opened before `text`."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == opening) - (letter == closing)
        if depth == 0:
            return place + 1
    return len(text)
