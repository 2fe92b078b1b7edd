"""A run whose first convolution whitens the training images' patches."""

from gpucnn import data
from gpucnn.data.dataset import Dataset
from gpucnn.errors import ArgumentError, ConfigError
from gpucnn.layers import Conv2d, Layer, whiten
from gpucnn.runs.config import RunConfig
from gpucnn.text import counted

MOST_IMAGES = 5_000
"""Images whose patches are looked at."""


def start_whitened(model: Layer, config: RunConfig, learned: Dataset | None) -> tuple[Conv2d, str]:
    """Have the first convolution whiten the first of the images `learned`: it, and a line that says so.

    Without images, of a run that goes on, it is frozen alone, as its checkpoint has the filters. ConfigError for a model
    without a convolution of as many filters as that takes.
    """
    assert config.whiten is not None
    first = next((layer for layer in model.modules() if isinstance(layer, Conv2d)), None)
    if first is None:
        raise ConfigError(f"whiten is {config.whiten}, but {config.model} has no convolution; leave it out")
    if learned is None:
        first.weight.requires_grad = False
        return first, ""
    images, _ = next(data.DataLoader(learned, min(len(learned), MOST_IMAGES), shuffle=False).batches(0))
    try:
        whiten(first, images)
    except ArgumentError as error:
        raise ConfigError(
            f"whiten is {config.whiten}, but the first convolution of {config.model} cannot begin so: {error}"
        ) from None
    bias = "" if first.bias is None else f", and their bias learns for {counted(config.whiten, 'epoch')}"
    return first, (
        f"first convolution: {first.out_channels} filters that whiten the patches of {counted(len(images), 'image')}; they stay{bias}"
    )
