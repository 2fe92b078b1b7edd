"""A walk through chapter 5, "Convolutional Neural Networks": every listing, every worked number, computed here.

Run it with `python examples/chapter_tour.py`.
"""

import numpy as np

import gpucnn
from gpucnn import Tensor, gradcheck, layers, models
from gpucnn import functions as F


def convolution() -> None:
    """Section "The Convolution Operation": the 5x5 gradient image under the sharpening filter."""
    print("\n== The convolution operation")
    image = np.arange(1, 26).reshape(5, 5)
    kernel = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    sharpened = gpucnn.convolve2d(image, kernel)
    print(f"element-wise product at position (1,1):\n{image[:3, :3] * kernel}")
    print(f"Output[1,1] = {sharpened[0, 0]:g}")
    print(f"Output[2,2] = {sharpened[1, 1]:g}")


def edges() -> None:
    """Section "Convolution Implementation": the 4x4 image under the vertical edge detector."""
    print("\n== Edge detection")
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]])
    kernel = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]])
    print(f"Convolution result:\n{gpucnn.convolve2d(image, kernel)}")


def pooling() -> None:
    """Section "Pooling Layers": 2x2 maxima of the 4x4 map, and what pooling does to a 224x224x64 one."""
    print("\n== Max pooling")
    feature_map = np.array([[1, 3, 2, 4], [5, 7, 6, 8], [9, 11, 10, 12], [13, 15, 14, 16]])
    print(f"Pooled result:\n{gpucnn.max_pooling(feature_map, pool_size=2, stride=2)}")
    before = (1, 64, 224, 224)
    after = layers.MaxPool2d(2).output_shape(before)
    print(f"224x224x64 = {np.prod(before):,} values become {after[2]}x{after[3]}x{after[1]} = {np.prod(after):,}")


def parameters() -> None:
    """Sections "The Parameter Explosion Problem" and "Parameter Sharing". Nothing is drawn: even the giant is free."""
    print("\n== Counting parameters")
    hidden = layers.Linear(28 * 28, 100)
    print(f"28x28 pixels to 100 neurons: {hidden.weight.size:,} weights + {hidden.bias.size} biases "
          f"= {hidden.parameter_count():,} parameters")  # fmt: skip
    print(f"224x224x3 pixels to 1000 neurons: {layers.Linear(224 * 224 * 3, 1000).weight.size:,} weights")
    print(f"32 filters of 3x3: {layers.Conv2d(1, 32, 3).weight.size} weights")


def architectures() -> None:
    """The listings of LeNet-5, of SimpleCNN, and of the full CNN with PyTorch-style structure."""
    print("\n== LeNet-5")
    print("Input: 32x32x1")
    for call in models.LeNet5().trace((1, 1, 32, 32)).calls:
        shape = call.output_shape[1:]
        print(f"{call.path}: {f'{shape[1]}x{shape[2]}x{shape[0]}' if len(shape) == 3 else shape[0]}")

    print("\n== SimpleCNN")
    simple = models.SimpleCNN()
    print(
        f"its first dense layer sees 8*13*13 = {simple.fc.in_features} inputs (the listing's 8*26*26 forgets the pooling)"
    )
    print(f"logits: {simple(np.random.default_rng(0).standard_normal((2, 1, 28, 28))).shape}")

    print("\n== The two-stage CNN")
    output = models.TwoStageCNN().forward(np.random.default_rng(0).standard_normal((1, 1, 28, 28)))
    print(f"Output shape: {output.shape}")


def gradients() -> None:
    """Section "Backpropagation in CNNs": two convolution gradients, and where pooling sends its gradient."""
    print("\n== Gradients")
    rng = np.random.default_rng(0)
    image, kernel = rng.standard_normal((6, 6)), rng.standard_normal((3, 3))
    x, weight = (Tensor(array[None, None], requires_grad=True) for array in (image, kernel))
    output = F.conv2d(x, weight)
    upstream = rng.standard_normal(output.shape)
    output.backward(upstream)
    by_kernel = gpucnn.convolve2d(image, upstream[0, 0])
    by_image = gpucnn.convolve2d(upstream[0, 0], kernel[::-1, ::-1], padding=2)
    assert x.grad is not None
    assert weight.grad is not None
    print(
        f"w.r.t. the kernel: the input convolved with the output gradient: {np.allclose(weight.grad[0, 0], by_kernel)}"
    )
    print(
        f"w.r.t. the input: the output gradient convolved with the turned kernel: {np.allclose(x.grad[0, 0], by_image)}"
    )
    gradcheck(F.conv2d, Tensor(x.data, requires_grad=True), Tensor(weight.data, requires_grad=True))
    print("convolution: both gradients agree with central differences")

    feature_map = Tensor(np.array([[1.0, 3, 2, 4], [5, 7, 6, 8], [9, 11, 10, 12], [13, 15, 14, 16]])[None, None], True)
    F.max_pool2d(feature_map, 2).sum().backward()
    assert feature_map.grad is not None
    print(f"pooling: the gradient goes to the maxima alone:\n{feature_map.grad[0, 0]}")
    gradcheck(lambda x: F.max_pool2d(x, 2), Tensor(feature_map.data, requires_grad=True))
    print("max pooling: the gradient agrees with central differences")


def main() -> None:
    for part in (convolution, edges, pooling, parameters, architectures, gradients):
        part()


if __name__ == "__main__":
    main()
