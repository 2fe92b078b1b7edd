"""What happens when a training step, or an evaluation, does not fit into the GPU's memory."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, beside, xp_of
from gpucnn.backend.memory import bytes_asked, free_bytes, is_out_of_memory, release
from gpucnn.errors import OutOfMemoryError

Result = TypeVar("Result")
Attempt: TypeAlias = Callable[[Array, Array], Result]
"""The forward and backward pass of one batch (N, C, H, W) with labels (N,). May be made again after it has failed."""


def with_retry(attempt: Attempt[Result], images: Array, labels: Array, device: Device, shards: int = 1) -> Result:
    """`attempt(images, labels)`; where a GPU's memory does not suffice, once more after freeing all that is unused.

    Raises OutOfMemoryError if that fails too: it names the layer, the bytes that it asked for, those that are free, and a
    batch size that fits, found by trying; where a batch is cut into `shards`, and the images are one of them, that of all.
    """
    if device.kind == "cpu":
        return attempt(images, labels)
    for _ in range(2):  # as it is, and after freeing
        try:
            return attempt(images, labels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            place = place_of(error)
            asked = bytes_asked(error)
        release(device)  # only now, as the error's traceback held arrays
    free = free_bytes(device)
    size = _size_that_fits(attempt, images, labels, device)
    what = "batch" if shards == 1 else "shard"
    fix = (
        f"a {what} of {size} fits; use a batch size of {shards * size}"
        if size
        else "not even one image fits; use a smaller model"
    )
    raise OutOfMemoryError(
        f"{device} is out of memory {place}, with a {what} of {len(labels)}: "
        f"{'an unknown number of' if asked is None else f'{asked:,}'} bytes asked for, {free:,} free before the step; {fix}"
    )


def place_of(error: Exception) -> str:
    """Where memory ran out, e.g. "in conv1 (Conv2d)"."""
    return next(iter(getattr(error, "__notes__", [])), "in the model")


def _size_that_fits(attempt: Attempt[object], images: Array, labels: Array, device: Device) -> int:
    """The largest of half, a quarter, ... of the batch with which `attempt` works; 0 if none does."""
    size = len(labels) // 2
    while size:
        try:
            attempt(images[:size], labels[:size])
            return size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            size //= 2
        release(device)
    return 0


def in_parts(compute: Callable[[Array], Tensor], images: Array, device: Device) -> Array:
    """What `compute` makes of images (N, ...), as an array; on a GPU without enough memory in halves, as small as needed.

    Raises OutOfMemoryError if not even one image fits.
    """
    try:
        return compute(images).array
    except Exception as error:
        if device.kind == "cpu" or not is_out_of_memory(error):
            raise
        place = place_of(error)
    release(device)
    half = len(images) // 2
    if half == 0:
        raise OutOfMemoryError(f"{device} is out of memory {place}; not even one image fits; use a smaller model")
    parts = [in_parts(compute, part, device) for part in (images[:half], images[half:])]
    with beside(parts[0]):
        return xp_of(parts[0]).concatenate(parts)
