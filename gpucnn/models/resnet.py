"""ResNet-18, -34 and -50: the residual networks for images of 224x224.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016, table 1. Parameters are named as in
torchvision's ResNet, whose weights fit.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d, Sequential
from gpucnn.models.image_model import ImageModel


class BasicBlock(Layer):
    """Two 3x3 convolutions with batch norm, added to what came in: (N, C, H, W) to (N, width, H / stride, W / stride).

    Where the shape changes, `downsample` is a 1x1 convolution with batch norm for what came in; else it is None.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        self.conv1 = Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = _downsample(in_channels, width, stride)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        y = self.bn1(self.conv1(x), activation="relu")
        y = self.conv2(y)
        return self.bn2(y, activation="relu", residual=x if self.downsample is None else self.downsample(x))


class Bottleneck(Layer):
    """1x1, 3x3 and 1x1 convolutions with batch norm, added to what came in: (N, C, H, W) to (N, 4 * width, H / stride, ...).

    The 3x3 convolution has the stride, as in torchvision ("ResNet v1.5"); in the paper the first has it, and so sees a
    quarter of the pixels only. `downsample` is as in BasicBlock.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        out_channels = width * self.expansion
        self.conv1 = Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        y = self.bn1(self.conv1(x), activation="relu")
        y = self.bn2(self.conv2(y), activation="relu")
        y = self.conv3(y)
        return self.bn3(y, activation="relu", residual=x if self.downsample is None else self.downsample(x))


def _downsample(in_channels: int, out_channels: int, stride: int) -> Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return Sequential(Conv2d(in_channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels))


class ResNet(ImageModel):
    """A 7x7 convolution and a max pooling, four stages of blocks of width 64 to 512, global average pooling, classes.

    Takes (N, in_channels, H, W) of any size, gives logits (N, num_classes). `blocks` are the blocks of each stage.
    """

    image_size = 224
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock
    blocks: tuple[int, int, int, int]

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 224, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        widths = [64, 64 * self.block.expansion, 128 * self.block.expansion, 256 * self.block.expansion]
        self.conv1 = Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(64)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(widths[0], 64, 1, self.blocks[0])
        self.layer2 = self._stage(widths[1], 128, 2, self.blocks[1])
        self.layer3 = self._stage(widths[2], 256, 2, self.blocks[2])
        self.layer4 = self._stage(widths[3], 512, 2, self.blocks[3])
        self.fc = Linear(512 * self.block.expansion, num_classes)

    def _stage(self, in_channels: int, width: int, stride: int, blocks: int) -> Sequential:
        out_channels = width * self.block.expansion
        first = self.block(in_channels, width, stride)
        return Sequential(first, *(self.block(out_channels, width, 1) for _ in range(blocks - 1)))

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.maxpool(self.bn1(self.conv1(x), activation="relu"))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(axis=(2, 3)))


class ResNet18(ResNet):
    """18 layers with weights: four stages of two basic blocks."""

    blocks = 2, 2, 2, 2


class ResNet34(ResNet):
    """34 layers with weights: stages of 3, 4, 6 and 3 basic blocks."""

    blocks = 3, 4, 6, 3


class ResNet50(ResNet):
    """50 layers with weights: stages of 3, 4, 6 and 3 bottlenecks."""

    block = Bottleneck
    blocks = 3, 4, 6, 3
