"""A small U-Net: a class for every pixel.

Source: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015. Here
with a quarter of the widths and three levels of four, with padding, so that the output is as large as the image, and
with batch norm.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.geometry import check_images
from gpucnn.layers import BatchNorm2d, Conv2d, ConvTranspose2d, Layer, MaxPool2d, ReLU, Sequential
from gpucnn.models.image_model import ImageModel
from gpucnn.text import shape_text

MULTIPLE = 8
"""Image sizes are halved three times and doubled again."""


class UNet(ImageModel):
    """Down with 16, 32 and 64 channels, 128 at the bottom, and up again, each level joined with the one it came from.

    Takes (N, in_channels, H, W), gives logits (N, num_classes, H, W), one class a pixel, for `F.cross_entropy` with labels
    (N, H, W). Each level has two 3x3 convolutions; 2x2 max pooling leads down, a transposed 2x2 convolution up. Raises
    ArgumentError for an `image_size` and ShapeError for images whose size is not a multiple of 8.
    """

    image_size = 128
    least_size = 8
    classifies = False

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 128, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        if image_size % MULTIPLE:
            raise ArgumentError(
                f"UNet takes images whose size is a multiple of {MULTIPLE}, got image_size={image_size}; pad the images"
            )
        self.in_channels = in_channels
        self.down1 = _convolutions(in_channels, 16)
        self.down2 = _convolutions(16, 32)
        self.down3 = _convolutions(32, 64)
        self.bottom = _convolutions(64, 128)
        self.up3 = ConvTranspose2d(128, 64, 2, stride=2)
        self.join3 = _convolutions(128, 64)
        self.up2 = ConvTranspose2d(64, 32, 2, stride=2)
        self.join2 = _convolutions(64, 32)
        self.up1 = ConvTranspose2d(32, 16, 2, stride=2)
        self.join1 = _convolutions(32, 16)
        self.pool = MaxPool2d(2)
        self.head = Conv2d(16, num_classes, 1)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes, H, W)."""
        check_images(self.label, x.shape, self.in_channels)
        if x.shape[2] % MULTIPLE or x.shape[3] % MULTIPLE:
            raise ShapeError(
                f"{self.label}: expected images (N, C, H, W) with H and W multiples of {MULTIPLE}, got "
                f"{shape_text(x.shape)}; pad the images"
            )
        first = self.down1(x)
        second = self.down2(self.pool(first))
        third = self.down3(self.pool(second))
        x = self.bottom(self.pool(third))
        x = self.join3(F.concatenate([third, self.up3(x)], axis=1))
        x = self.join2(F.concatenate([second, self.up2(x)], axis=1))
        x = self.join1(F.concatenate([first, self.up1(x)], axis=1))
        return self.head(x)


def _convolutions(in_channels: int, out_channels: int) -> Sequential:
    """Two 3x3 convolutions with batch norm and ReLU, which keep the image's size."""
    return Sequential(*_convolution(in_channels, out_channels), *_convolution(out_channels, out_channels))


def _convolution(in_channels: int, out_channels: int) -> tuple[Layer, ...]:
    return Conv2d(in_channels, out_channels, 3, padding=1, bias=False), BatchNorm2d(out_channels), ReLU()
