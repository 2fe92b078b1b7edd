"""Every listing of the chapter through the public names, and each of its worked numbers."""

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, gradcheck, layers, models
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, ShapeError


def test_parameter_explosion() -> None:
    hidden = models.MLP().hidden
    assert hidden.weight.size == 784 * 100 == 78_400
    assert hidden.parameter_count() == 78_500
    assert models.MLP().parameter_count() == 78_500 + 1_010
    assert layers.Linear(224 * 224 * 3, 1000).in_features == 150_528
    assert layers.Linear(224 * 224 * 3, 1000).weight.size == 150_528_000


def test_parameter_sharing() -> None:
    assert layers.Conv2d(1, 32, 3).weight.size == 288


def test_worked_convolution() -> None:
    image = np.arange(1, 26).reshape(5, 5)
    kernel = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    result = gpucnn.convolve2d(image, kernel)
    np.testing.assert_array_equal(image[:3, :3] * kernel, [[0, -2, 0], [-6, 35, -8], [0, -12, 0]])
    assert result.shape == (3, 3)
    assert result[0, 0] == 7
    assert result[1, 1] == 13


def test_convolution_listing() -> None:
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]])
    kernel = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]])
    np.testing.assert_array_equal(gpucnn.convolve2d(image, kernel), [[6, 6], [6, 6]])
    np.testing.assert_array_equal(gpucnn.convolve2d(image, kernel, stride=1, padding=0), [[6, 6], [6, 6]])


FEATURE_MAP = np.array([[1, 3, 2, 4], [5, 7, 6, 8], [9, 11, 10, 12], [13, 15, 14, 16]])


def test_pooling_listing() -> None:
    pooled = gpucnn.max_pooling(FEATURE_MAP, pool_size=2, stride=2)
    np.testing.assert_array_equal(pooled, [[7, 8], [15, 16]])
    assert pooled.size / FEATURE_MAP.size == 0.25


def test_pooling_reduces_computation() -> None:
    before = (1, 64, 224, 224)
    after = layers.MaxPool2d(2).output_shape(before)
    assert after == (1, 64, 112, 112)
    assert np.prod(before) == 3_211_264
    assert np.prod(after) == 802_816


def test_lenet5_architecture() -> None:
    model = models.LeNet5()
    steps = {call.path: call.output_shape for call in model.trace((1, 1, 32, 32)).calls}
    assert steps == {
        "conv1": (1, 6, 28, 28),
        "pool1": (1, 6, 14, 14),
        "conv2": (1, 16, 10, 10),
        "pool2": (1, 16, 5, 5),
        "flatten": (1, 400),
        "fc1": (1, 120),
        "fc2": (1, 84),
        "output": (1, 10),
    }
    seen: dict[str, tuple[int, ...]] = {}
    for name in steps:
        layer = getattr(model, name)
        forward = layer.forward
        layer.forward = lambda x, name=name, forward=forward: seen.setdefault(name, forward(x)).data
    model(np.zeros((1, 1, 32, 32)))
    assert {name: output.shape for name, output in seen.items()} == steps, "computed shapes are the ones told"
    assert model.parameter_count() == 61_706


def test_simple_cnn_listing() -> None:
    cnn = models.SimpleCNN()
    assert cnn.conv.weight.shape == (8, 1, 3, 3)
    assert cnn.conv.bias.shape == (8,)
    assert cnn.fc.weight.shape == (128, 8 * 13 * 13) == (128, 1352)
    assert cnn.output.weight.shape == (10, 128)
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28))
    logits = cnn.forward(x)
    assert logits.shape == (3, 10)

    # The chapter's forward pass, line for line, on the same weights.
    conv_out = np.stack([
        np.stack([gpucnn.convolve2d(image[0], weight[0]) + bias for weight, bias in
                  zip(cnn.conv.weight.data.astype(float), cnn.conv.bias.data, strict=True)])
        for image in x
    ])  # fmt: skip
    conv_out = np.maximum(0, conv_out)
    pooled = np.stack([np.stack([gpucnn.max_pooling(channel, 2) for channel in image]) for image in conv_out])
    flattened = pooled.reshape(3, -1)
    fc_out = np.maximum(0, np.dot(flattened, cnn.fc.weight.data.T) + cnn.fc.bias.data)
    output = np.dot(fc_out, cnn.output.weight.data.T) + cnn.output.bias.data
    np.testing.assert_allclose(logits.numpy(), output, rtol=1e-4, atol=1e-4)


def test_complete_listing_with_our_layers() -> None:
    """The chapter's last listing as it stands there, with ConvLayer and MaxPoolLayer from gpucnn."""
    ConvLayer, MaxPoolLayer = layers.ConvLayer, layers.MaxPoolLayer

    class SimpleCNN:
        def __init__(self) -> None:
            self.conv1 = ConvLayer(1, 8, 3, stride=1, padding=1)
            self.pool1 = MaxPoolLayer(2, stride=2)
            self.conv2 = ConvLayer(8, 16, 3, stride=1, padding=1)
            self.pool2 = MaxPoolLayer(2, stride=2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.conv1.forward(x)
            x = np.maximum(0, x)  # ReLU
            x = self.pool1.forward(x)
            x = self.conv2.forward(x)
            x = np.maximum(0, x)  # ReLU
            return self.pool2.forward(x)

    cnn = SimpleCNN()
    x = np.random.randn(1, 1, 28, 28)  # noqa: NPY002 (the chapter's own line)
    output = cnn.forward(x)
    assert output.shape == (1, 16, 7, 7)
    output.sum().backward()
    assert cnn.conv1.weight.grad.any(), "np.maximum on tensors keeps the gradient"
    two_stage = models.TwoStageCNN()
    two_stage.load_state_dict({
        f"{name}.{parameter}": getattr(getattr(cnn, name), parameter).data
        for name in ("conv1", "conv2") for parameter in ("weight", "bias")
    })  # fmt: skip
    np.testing.assert_array_equal(two_stage(x).numpy(), output.numpy())
    assert two_stage.output_shape((1, 1, 28, 28)) == (1, 16, 7, 7)


def test_he_initialisation_of_the_listing() -> None:
    layer = layers.ConvLayer(8, 256, 3)
    assert layer.weight.data.std() == pytest.approx(np.sqrt(2.0 / (8 * 3 * 3)), rel=0.03)
    assert not layer.bias.data.any()


def test_convolution_gradients_are_convolutions(rng: np.random.Generator) -> None:
    image, kernel = rng.standard_normal((6, 7)), rng.standard_normal((3, 2))
    x, weight = (Tensor(array[None, None], requires_grad=True) for array in (image, kernel))
    output = F.conv2d(x, weight)
    upstream = rng.standard_normal(output.shape)
    output.backward(upstream)
    np.testing.assert_allclose(weight.grad[0, 0], gpucnn.convolve2d(image, upstream[0, 0]))
    padded = np.pad(upstream[0, 0], ((2, 2), (1, 1)))
    np.testing.assert_allclose(x.grad[0, 0], gpucnn.convolve2d(padded, kernel[::-1, ::-1]))
    gradcheck(F.conv2d, Tensor(image[None, None], True), Tensor(kernel[None, None], True))


def test_pooling_gradient_goes_to_the_maximum_only() -> None:
    x = Tensor(FEATURE_MAP[None, None].astype(float), requires_grad=True)
    F.max_pool2d(x, 2).backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    np.testing.assert_array_equal(x.grad[0, 0], [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]])
    gradcheck(lambda x: F.max_pool2d(x, 2), Tensor(x.data, requires_grad=True))


def test_models_by_name_and_size() -> None:
    assert models.names()[:3] == ["lenet5", "simplecnn", "mlp"]
    assert isinstance(models.create("lenet5"), models.LeNet5)
    assert models.create("simplecnn", 5, 3, 32).output_shape((2, 3, 32, 32)) == (2, 5)
    assert models.create("mlp", 10, 1, 28).parameter_count() == 79_510
    assert [models.image_size_for("lenet5", 28), models.image_size_for("mlp", 32)] == [32, 32]
    with pytest.raises(ArgumentError, match="unknown model 'vgg', expected one of lenet5, simplecnn, mlp"):
        models.create("vgg")
    with pytest.raises(ArgumentError, match="LeNet5 takes images of 32x32, got image_size=28"):
        models.create("lenet5", image_size=28)
    with pytest.raises(ArgumentError, match="SimpleCNN takes images of 4x4 and more, got image_size=3"):
        models.SimpleCNN(image_size=3)
    with pytest.raises(
        ShapeError, match=r"^LeNet5: expected images \(N, 1, 32, 32\), got \(1, 1, 28, 28\); pad or resize"
    ):
        models.LeNet5()(np.zeros((1, 1, 28, 28)))
