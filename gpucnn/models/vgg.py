"""VGG-11, -13 and -16, without and with batch norm, and VGG-mini, small enough to train on a laptop.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
configurations A, B and D. Their parameters are named as in torchvision's VGG, whose weights fit.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from gpucnn.models.image_model import ImageModel


class VGG(ImageModel):
    """Five stages of 3x3 convolutions, 2x2 max pooling after each, and three linear layers of 4096, 4096 and the classes.

    Takes (N, in_channels, H, W) of any size from 32x32, gives logits (N, num_classes). `channels` has the convolutions'
    channels, stage by stage. Images of other sizes than 224 are averaged, or repeated, to the 7x7 that the linear layers
    expect, as in torchvision.
    """

    image_size = 224
    least_size = 32
    channels: tuple[tuple[int, ...], ...]
    batch_norm = False

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 224, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.features = Sequential(*self._stages(in_channels))
        self.avgpool = AdaptiveAvgPool2d(7)
        self.classifier = Sequential(
            *(Linear(512 * 7 * 7, 4096), ReLU(), Dropout(0.5)),
            *(Linear(4096, 4096), ReLU(), Dropout(0.5)),
            Linear(4096, num_classes),
        )

    def _stages(self, in_channels: int) -> list[Layer]:
        layers: list[Layer] = []
        for stage in self.channels:
            for width in stage:
                layers.append(Conv2d(in_channels, width, 3, padding=1))
                layers.extend([BatchNorm2d(width), ReLU()] if self.batch_norm else [ReLU()])
                in_channels = width
            layers.append(MaxPool2d(2))
        return layers

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(F.flatten(self.avgpool(self.features(x))))


class VGG11(VGG):
    """Eight convolutions and three linear layers."""

    channels = (64,), (128,), (256, 256), (512, 512), (512, 512)


class VGG13(VGG):
    """Ten convolutions and three linear layers."""

    channels = (64, 64), (128, 128), (256, 256), (512, 512), (512, 512)


class VGG16(VGG):
    """Thirteen convolutions and three linear layers."""

    channels = (64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)


class VGG11BN(VGG11):
    """VGG-11 with batch norm after the convolutions."""

    batch_norm = True


class VGG13BN(VGG13):
    """VGG-13 with batch norm after the convolutions."""

    batch_norm = True


class VGG16BN(VGG16):
    """VGG-16 with batch norm after the convolutions."""

    batch_norm = True


class VGGMini(ImageModel):
    """conv32-conv32-pool-conv64-conv64-pool-fc128-classes, batch norm and ReLU after all but the last.

    Takes (N, in_channels, image_size, image_size), 32x32 by default; gives logits (N, num_classes). ArgumentError for images
    smaller than 4x4. In the manner of Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015.
    """

    least_size = 4

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        size = image_size // 4
        self.features = Sequential(
            *_block(in_channels, 32), *_block(32, 32), MaxPool2d(2), *_block(32, 64), *_block(64, 64), MaxPool2d(2)
        )
        hidden = (Linear(64 * size * size, 128, bias=False), BatchNorm1d(128), ReLU())
        self.classifier = Sequential(Flatten(), *hidden, Linear(128, num_classes))

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        return self.classifier(self.features(x))


def _block(in_channels: int, out_channels: int) -> tuple[Layer, ...]:
    """A 3x3 convolution, whose bias the batch norm that follows would take away."""
    return Conv2d(in_channels, out_channels, 3, padding=1, bias=False), BatchNorm2d(out_channels), ReLU()
