"""What happens when a training step does not fit into the GPU's memory."""

from collections.abc import Callable
from typing import TypeAlias

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device
from gpucnn.backend.memory import bytes_asked, free_bytes, release
from gpucnn.errors import OutOfMemoryError

Attempt: TypeAlias = Callable[[Array, Array], Tensor]
"""The forward and backward pass of one batch (N, C, H, W) with labels (N,). May be made again after it has failed."""


def with_retry(attempt: Attempt, images: Array, labels: Array, device: Device) -> Tensor:
    """`attempt(images, labels)`; on a GPU without enough memory once more, after all that is unused was given back.

    Raises OutOfMemoryError if that fails too: it names the layer, the bytes that it asked for, those that are free, and a
    batch size that fits, found by trying.
    """
    if device.kind == "cpu":
        return attempt(images, labels)
    try:
        return attempt(images, labels)
    except MemoryError:
        pass  # the traceback, which holds arrays, is gone when the block has ended
    release(device)
    try:
        return attempt(images, labels)
    except MemoryError as error:
        place = ", ".join(getattr(error, "__notes__", [])[:1]) or "in the model"
        asked = bytes_asked(error)
    release(device)
    free = free_bytes(device)
    size = _size_that_fits(attempt, images, labels, device)
    fix = (
        f"a batch of {size} fits; use a batch size of {size}"
        if size
        else "not even one image fits; use a smaller model"
    )
    raise OutOfMemoryError(
        f"{device} is out of memory {place}, with a batch of {len(labels)}: "
        f"{'an unknown number of' if asked is None else f'{asked:,}'} bytes asked for, {free:,} free before the step; {fix}"
    )


def _size_that_fits(attempt: Attempt, images: Array, labels: Array, device: Device) -> int:
    """The largest of half, a quarter, ... of the batch with which `attempt` works; 0 if none does."""
    size = len(labels) // 2
    while size:
        try:
            attempt(images[:size], labels[:size])
            return size
        except MemoryError:
            size //= 2
        release(device)
    return 0
