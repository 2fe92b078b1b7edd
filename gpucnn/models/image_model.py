"""ImageModel: what the models have in common."""

from collections.abc import Iterator
from typing import NamedTuple

from gpucnn.checks import as_count
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer, Sequential

OPENED = ("features", "classifier")
"""Members, as torchvision calls them, that are no stage of their own, but have one stage after the other."""


class Stage(NamedTuple):
    """A part of a model that can be frozen by itself."""

    path: str
    """Of the first layer in it that has weights."""
    layers: list[Layer]


class ImageModel(Layer):
    """A model of square images, built with (num_classes, in_channels, image_size, seed), each with a default.

    The class tells what it was made for, an instance may be built for other images:

    - `in_channels`, `image_size`: the images of its paper, and the constructor's defaults.
    - `least_size`: the smallest image size at which something is left for every layer.
    - `training_size`: the smallest image size that is worth training at; smaller images are enlarged to it.
    - `classifies`: whether it gives logits (N, num_classes), one row per image. If not, it labels every pixel.

    Raises ArgumentError unless `image_size` is an int of `least_size` or more.
    """

    in_channels: int = 3
    image_size: int = 32
    least_size: int = 1
    training_size: int = 32
    classifies: bool = True

    def __init__(self, image_size: int, seed: int | None) -> None:
        name, least = type(self).__name__, self.least_size
        if as_count(image_size, f"{name}: image_size") < least:
            raise ArgumentError(
                f"{name} takes images of {least}x{least} and more, got image_size={image_size}; enlarge the images"
            )
        if seed is not None:
            self.seed = seed

    def head_path(self) -> str:
        """The path of the layer that gives the classes: the last one that learns."""
        *_, (path, _) = self.named_parameters()
        return path.rpartition(".")[0]

    def stages(self) -> list[Stage]:
        """What comes before the head, in its order: the model's members, and those of its `features` and `classifier`.

        A stage begins with weights. A norm that follows belongs to it; what has nothing to learn, such as a pooling or a
        dropout, to what comes next.
        """
        found: list[Stage] = []
        waiting: list[Layer] = []
        head = self.head_path()
        for path, layer in self._parts():
            if path == head:
                break
            axes = [parameter.ndim for parameter in layer.parameters()]
            if found and axes and max(axes) == 1:
                found[-1].layers.extend([*waiting, layer])
                waiting = []
            elif axes:
                found.append(Stage(path, [*waiting, layer]))
                waiting = []
            else:
                waiting.append(layer)
        return found

    def _parts(self) -> Iterator[tuple[str, Layer]]:
        for name, member in self._members():
            if name in OPENED and isinstance(member, Sequential):
                yield from ((f"{name}.{place}", layer) for place, layer in enumerate(member))
            elif isinstance(member, Layer):
                yield name, member
