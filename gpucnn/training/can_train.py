"""What is checked before the first step: that a model can learn, and that it takes the last batch of an epoch."""

import numpy as np

from gpucnn.autograd import no_grad
from gpucnn.backend import Array, xp_of
from gpucnn.data import DataLoader
from gpucnn.data.pieces import shard_sizes
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import ForwardState
from gpucnn.text import counted


def check_can_train(model: Layer) -> None:
    """ArgumentError if nothing of `model` learns, or if part of a model in training is in evaluation mode.

    Training would switch that part to training, too.
    """
    for _, layer in model.named_layers() if model.training else ():
        if not layer.training and not layer.is_frozen:
            raise ArgumentError(
                f"{layer.label} is in evaluation mode, and training would switch it back; to keep it so, freeze it with "
                f"requires_grad_(False), or a batch norm's statistics alone with frozen=True; else call model.train() first"
            )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ArgumentError(f"{model.label}: all parameters are frozen; requires_grad_(True) on what shall learn")


def check_last_batch(model: Layer, loader: DataLoader, can_drop: bool = True, shards: int = 1) -> None:
    """See that `model` takes a batch of one image in training, if an epoch of `loader` has one.

    It is tried, on one image and on two; the model is left as it was. A single image may be too few: nets that end in batch
    norms of a single position do not take one. `can_drop`: whether who made the loader has a `drop_last` to be told of.
    `shards`: that each batch is cut into, one of which may have the single image. Raises ArgumentError, with a batch size that
    fits, if two are taken and one is not.
    """
    count, size = loader.images_in(len(loader)), loader.batch_size
    sizes = [loader.images_in(batch + 1) - loader.images_in(batch) for batch in range(len(loader))]
    alone = [batch for batch, images in enumerate(sizes) if 1 in shard_sizes(images, shards)]
    if not alone:
        return
    try:
        images, _ = next(loader.batches(0, alone[0]))
    except Exception:  # the first batch will tell, with its place
        return
    images = images[:1]
    reason = _refusal(model, images)
    if reason is None or _refusal(model, xp_of(images).concatenate([images, images])) is not None:
        return
    if shards > 1:
        drop = ", or drop_last to leave the last batch out" if can_drop and alone == [len(loader) - 1] else ""
        raise ArgumentError(
            f"batch {alone[0] + 1} of an epoch has {counted(sizes[alone[0]], 'image')}, which in {shards} shards leave one alone: {reason}; "
            f"use fewer shards or another batch_size{drop}"
        )
    if loader.batch_sampler is not None:
        raise ArgumentError(
            f"batch_sampler gives batches of one image, which are not what the model trains on: {reason}; make them larger"
        )
    if size == 1:
        raise ArgumentError(
            f"batches of one image are not what the model trains on: {reason}; use batch_size 2 or more"
        )
    fitting = _nearest_size(count, size)
    drop = ", or drop_last to leave that image out" if can_drop else ""
    fix = "add images" if fitting is None else f"use batch_size {fitting}{drop}"
    raise ArgumentError(
        f"{count:,} images in batches of {size} leave one for the last batch, with which every epoch would end in an error: "
        f"{reason}; {fix}"
    )


def _refusal(model: Layer, images: Array) -> str | None:
    """Why the model does not take these images in training; None if it does, or fails in another way."""
    before = ForwardState(model)
    try:
        model.train()
        with no_grad(), np.errstate(all="ignore"):
            model(images)
    except ShapeError as error:
        return str(error).partition(";")[0]
    except Exception:  # the first step will tell
        return None
    finally:
        before.restore()
    return None


def _nearest_size(count: int, size: int) -> int | None:
    """The batch size nearest to `size`, of two alike the smaller, that leaves no single image of `count`."""
    sizes = (one for distance in range(1, count + size) for one in (size - distance, size + distance))
    return next((one for one in sizes if 2 <= one <= count and count % one != 1), None)
