"""ResNet-20, -32 and -56, and Wide ResNet-16-4: the residual networks for images of 32x32.

Sources: He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2, with parameters named as in
torchvision's ResNet; Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, without the dropout that it offers
between the convolutions.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, Linear, Sequential
from gpucnn.models.image_model import ImageModel


class CifarBlock(Layer):
    """Two 3x3 convolutions with batch norm, added to what came in: (N, C, H, W) to (N, out_channels, H / stride, W / stride).

    Where the shape changes, what came in loses every other row and column and gains channels of zeros, the paper's
    option A, so that the shortcut has no parameters.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.stride, self.new_channels = stride, out_channels - in_channels
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(out_channels)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        y = self.bn1(self.conv1(x), activation="relu")
        return self.bn2(self.conv2(y), activation="relu", residual=self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        thinned = x[:, :, :: self.stride, :: self.stride]
        return F.pad(thinned, ((0, 0), (before, self.new_channels - before), (0, 0), (0, 0)))


class CifarResNet(ImageModel):
    """A 3x3 convolution, three stages of `blocks` blocks with 16, 32 and 64 channels, global average pooling, classes.

    Takes (N, in_channels, H, W) of any size, gives logits (N, num_classes).
    """

    blocks: int

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.conv1 = Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.fc = Linear(64, num_classes)

    def _stage(self, in_channels: int, out_channels: int, stride: int) -> Sequential:
        first = CifarBlock(in_channels, out_channels, stride)
        return Sequential(first, *(CifarBlock(out_channels, out_channels, 1) for _ in range(self.blocks - 1)))

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x), activation="relu")
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(axis=(2, 3)))


class ResNet20(CifarResNet):
    """20 layers with weights: three stages of three blocks."""

    blocks = 3


class ResNet32(CifarResNet):
    """32 layers with weights: three stages of five blocks."""

    blocks = 5


class ResNet56(CifarResNet):
    """56 layers with weights: three stages of nine blocks."""

    blocks = 9


class WideBlock(Layer):
    """Batch norm, ReLU and a 3x3 convolution, twice, added to what came in: (N, C, H, W) to (N, out_channels, H / stride, ...).

    Where the shape changes, `downsample` is a 1x1 convolution that is added instead, of the input after its batch norm
    and ReLU; else it is None.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.bn1 = BatchNorm2d(in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        keeps_shape = stride == 1 and in_channels == out_channels
        self.downsample = None if keeps_shape else Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        active = self.bn1(x, activation="relu")
        y = self.conv2(self.bn2(self.conv1(active), activation="relu"))
        shortcut: Tensor = x if self.downsample is None else self.downsample(active)
        return y + shortcut


class WideResNet16x4(ImageModel):
    """A 3x3 convolution, three stages of two blocks with 64, 128 and 256 channels, global average pooling, classes.

    16 layers as the paper counts them, 4 times the channels of a CIFAR ResNet. Takes (N, in_channels, H, W) of any size,
    gives logits (N, num_classes).
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.conv1 = Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = Sequential(WideBlock(16, 64, 1), WideBlock(64, 64, 1))
        self.layer2 = Sequential(WideBlock(64, 128, 2), WideBlock(128, 128, 1))
        self.layer3 = Sequential(WideBlock(128, 256, 2), WideBlock(256, 256, 1))
        self.bn = BatchNorm2d(256)
        self.fc = Linear(256, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.bn(x, activation="relu").mean(axis=(2, 3)))
