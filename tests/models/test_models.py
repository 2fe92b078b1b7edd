"""Every model by name: its size in papers' numbers, its shapes, a training step, its state, and every backend."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, no_grad, optim
from gpucnn import functions as F
from gpucnn.checks import Shape
from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError, GpucnnError, ShapeError
from gpucnn.kernels import ways
from gpucnn.models.convnext import ChannelNorm, CNBlock
from gpucnn.models.vgg import VGG
from gpucnn.training import RunFolder
from tests.backends import Backend


class Size(NamedTuple):
    """How many numbers a model learns, and where that is written."""

    name: str
    num_classes: int
    in_channels: int
    parameters: int
    source: str


def conv(in_channels: int, out_channels: int, kernel_size: int, bias: bool = False) -> int:
    return (in_channels * kernel_size**2 + bias) * out_channels


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def norm(channels: int) -> int:
    return 2 * channels


def cifar_resnet(blocks: int) -> int:
    """He et al.: 16, 32 and 64 channels, each stage of 2 * blocks convolutions, shortcuts without parameters."""
    stages = sum(
        conv(before, width, 3) + (2 * blocks - 1) * conv(width, width, 3) + 2 * blocks * norm(width)
        for before, width in ((16, 16), (16, 32), (32, 64))
    )
    return conv(3, 16, 3) + norm(16) + stages + linear(64, 10)


def wide_resnet() -> int:
    total = conv(3, 16, 3) + norm(256) + linear(256, 10)
    for before, width in ((16, 64), (64, 128), (128, 256)):
        total += norm(before) + conv(before, width, 3) + norm(width) + conv(width, width, 3) + conv(before, width, 1)
        total += 2 * (norm(width) + conv(width, width, 3))
    return total


def densenet() -> int:
    channels, total = 16, conv(3, 16, 3)
    for block in range(3):
        for _ in range(12):
            total += norm(channels) + conv(channels, 12, 3)
            channels += 12
        if block < 2:
            total += norm(channels) + conv(channels, channels, 1)
    return total + norm(channels) + linear(channels, 10)


def unet() -> int:
    def two(before: int, width: int) -> int:
        return conv(before, width, 3) + conv(width, width, 3) + 2 * norm(width)

    down = two(3, 16) + two(16, 32) + two(32, 64) + two(64, 128)
    up = sum(conv(2 * width, width, 2, bias=True) + two(2 * width, width) for width in (64, 32, 16))
    return down + up + conv(16, 10, 1, bias=True)


def airbench(first: int, second: int, third: int) -> int:
    """Jordan, section 3.1 and the listing: 3x3 convolutions without bias, norms with a bias alone, a last layer without one."""
    total = 24 * 12 + 24 + third * 10
    for before, width in ((24, first), (first, second), (second, third)):
        total += conv(before, width, 3) + conv(width, width, 3) + 2 * width
    return total


TORCHVISION = "torchvision 0.29.1, num_params"
ADDED_UP = {
    "lenet5": conv(1, 6, 5, True) + conv(6, 16, 5, True) + linear(400, 120) + linear(120, 84) + linear(84, 10),
    "simplecnn": conv(1, 8, 3, True) + linear(8 * 13 * 13, 128) + linear(128, 10),
    "mlp": linear(784, 100) + linear(100, 10),
    "vgg_mini": conv(3, 32, 3) + conv(32, 32, 3) + conv(32, 64, 3) + conv(64, 64, 3)
    + 2 * norm(32) + 2 * norm(64) + linear(64 * 8 * 8, 128) - 128 + norm(128) + linear(128, 10),
    "alexnet": conv(3, 64, 11, True) + conv(64, 192, 5, True) + conv(192, 384, 3, True) + conv(384, 256, 3, True)
    + conv(256, 256, 3, True) + linear(256, 10),
    "nin": conv(3, 192, 5, True) + conv(192, 160, 1, True) + conv(160, 96, 1, True)
    + conv(96, 192, 5, True) + 2 * conv(192, 192, 1, True)
    + conv(192, 192, 3, True) + conv(192, 192, 1, True) + conv(192, 10, 1, True),
    "resnet20": cifar_resnet(3),
    "resnet32": cifar_resnet(5),
    "resnet56": cifar_resnet(9),
    "wide_resnet16_4": wide_resnet(),
    "airbench94": airbench(64, 256, 256),
    "airbench94_half": airbench(32, 128, 128),
    "densenet40_12": densenet(),
    "unet": unet(),
}  # fmt: skip
"""The parameters of models that are not torchvision's, layer by layer as their papers describe them."""

SIZES = [
    Size("lenet5", 10, 1, 61_706, "chapter 5, LeNet-5"),
    Size("simplecnn", 10, 1, 174_554, "chapter 5's listing, its first dense layer mended to 1352 inputs"),
    Size("mlp", 10, 1, 79_510, "chapter 5: 78,500 in the first layer"),
    Size("vgg_mini", 10, 3, 591_594, "our own, added up above"),
    Size("alexnet", 10, 3, 2_472_266, "README of github.com/bearpaw/pytorch-classification: 2.47 million"),
    Size("nin", 10, 3, 966_986, "Lin et al., the authors' Caffe model, added up above"),
    Size("vgg11", 1000, 3, 132_863_336, TORCHVISION),
    Size("vgg11_bn", 1000, 3, 132_868_840, TORCHVISION),
    Size("vgg13", 1000, 3, 133_047_848, TORCHVISION),
    Size("vgg13_bn", 1000, 3, 133_053_736, TORCHVISION),
    Size("vgg16", 1000, 3, 138_357_544, TORCHVISION),
    Size("vgg16_bn", 1000, 3, 138_365_992, TORCHVISION),
    Size("resnet20", 10, 3, 269_722, "He et al., table 6: 0.27 million"),
    Size("resnet32", 10, 3, 464_154, "He et al., table 6: 0.46 million"),
    Size("resnet56", 10, 3, 853_018, "He et al., table 6: 0.85 million"),
    Size("resnet18", 1000, 3, 11_689_512, TORCHVISION),
    Size("resnet34", 1000, 3, 21_797_672, TORCHVISION),
    Size("resnet50", 1000, 3, 25_557_032, TORCHVISION),
    Size("wide_resnet16_4", 10, 3, 2_748_890, "Zagoruyko and Komodakis: 2.7 million"),
    Size("airbench94", 10, 3, airbench(64, 256, 256), "Jordan, the listing airbench94.py, added up above"),
    Size("airbench94_half", 10, 3, airbench(32, 128, 128), "our own, added up above"),
    Size("densenet40_12", 10, 3, 1_019_722, "Huang et al., table 2: 1.0 million"),
    Size("mobilenet_v2", 1000, 3, 3_504_872, TORCHVISION),
    Size("squeezenet", 1000, 3, 1_235_496, f"{TORCHVISION} of squeezenet1_1"),
    Size("convnext_tiny", 1000, 3, 28_589_128, TORCHVISION),
    Size("unet", 10, 3, 482_890, "our own, added up above"),
]

GIGA_MULTIPLY_ADDS = {
    "vgg11": 7.609, "vgg11_bn": 7.609, "vgg13": 11.308, "vgg13_bn": 11.308, "vgg16": 15.47, "vgg16_bn": 15.47,
    "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "mobilenet_v2": 0.301, "squeezenet": 0.349,
    "convnext_tiny": 4.456,
}  # fmt: skip
"""torchvision's `_ops`: of one image of 3x224x224."""

LONGER = ("airbench94", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "resnet32", "resnet56", "resnet34")
"""Models that have more of the same blocks than another one: what is slow is not done with them."""

OF_PHOTOS = ("resnet18", "resnet34", "resnet50", "mobilenet_v2")
"""Models that make images 32 times smaller."""

every_model = pytest.mark.parametrize("name", models.names())


def small_input(name: str, batch: int = 4) -> Shape:
    """A batch of the smallest images that the model is trained at; where batch norm would see single pixels, of 64x64."""
    channels, *_ = models.default_input(name)
    size = models.image_size_for(name, 1)
    if name in OF_PHOTOS:
        size = 64
    return batch, channels, size, size


def build(name: str, size: int, seed: int = 0) -> layers.Layer:
    """The model for such images. Linear layers of VGGs, which have 120 million parameters, are narrower."""
    model = models.create(name, image_size=size, seed=seed)
    if isinstance(model, VGG):
        narrow = layers.Linear(512 * 7 * 7, 16), layers.Linear(16, 16), layers.Linear(16, 10)
        for place, layer in zip((0, 3, 6), narrow, strict=True):
            layer.seed = seed
            model.classifier[place] = layer
    return model


def forget_masks(model: layers.Layer) -> None:
    for _, layer in model.named_layers():
        if isinstance(layer, layers.Dropout):
            layer.calls = 0


def loss_of(model: layers.Layer, images: np.ndarray, labels: np.ndarray) -> Tensor:
    """Cross-entropy, with the same dropout masks in every call; per pixel where the model labels pixels."""
    forget_masks(model)
    logits = model(images)
    return F.cross_entropy(logits, np.resize(labels, (len(labels), *logits.shape[2:])))


def test_the_table_has_every_model() -> None:
    assert [size.name for size in SIZES] == models.names()
    assert set(ADDED_UP) | set(GIGA_MULTIPLY_ADDS) == set(models.names())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_parameters_are_as_many_as_published_and_none_is_drawn_for_it(size: Size) -> None:
    model = models.create(size.name, size.num_classes, size.in_channels)
    assert model.parameter_count() == size.parameters == ADDED_UP.get(size.name, size.parameters)
    assert all(member._data is None for _, member in [*model.named_parameters(), *model.named_buffers()])
    shape = model.output_shape((3, *models.default_input(size.name)))
    assert shape == (3, size.num_classes, *([128, 128] if size.name == "unet" else []))


@pytest.mark.parametrize("name", GIGA_MULTIPLY_ADDS)
def test_multiply_adds_are_torchvision_s(name: str) -> None:
    cost = models.create(name, 1000).multiply_adds((1, 3, 224, 224))
    assert round(cost / 1e9, 3) == GIGA_MULTIPLY_ADDS[name]


@every_model
def test_channels_and_classes_may_be_others(name: str) -> None:
    model = models.create(name, 7, 2, image_size=small_input(name)[2])
    _, _, height, width = small_input(name)
    assert model.output_shape((5, 2, height, width))[:2] == (5, 7)


LEAST = {
    "lenet5": 32, "simplecnn": 4, "mlp": 1, "vgg_mini": 4, "alexnet": 29, "nin": 4, "vgg11": 32, "vgg11_bn": 32,
    "vgg13": 32, "vgg13_bn": 32, "vgg16": 32, "vgg16_bn": 32, "resnet20": 1, "resnet32": 1, "resnet56": 1, "resnet18": 1,
    "resnet34": 1, "resnet50": 1, "wide_resnet16_4": 1, "densenet40_12": 4, "mobilenet_v2": 1, "squeezenet": 17,
    "convnext_tiny": 32, "unet": 8, "airbench94": 9, "airbench94_half": 9,
}  # fmt: skip


@every_model
def test_the_least_size_works_and_one_less_does_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, channels = LEAST[name], models.default_input(name)[0]
    model = models.create(name, image_size=least)
    assert model.output_shape((2, channels, least, least))[:2] == (2, 10)
    kind = type(model)
    message = (
        f"{kind.__name__}: image_size must be an int >= 1, got 0"
        if least == 1
        else f"{kind.__name__} takes images of {least}x{least}( and more)?, got image_size={least - 1}; "
    )
    with pytest.raises(ArgumentError, match=message):
        models.create(name, image_size=least - 1)
    if least > 1:
        monkeypatch.setattr(kind, "least_size", 1)
        with pytest.raises(GpucnnError):
            models.create(name, image_size=least - 1).output_shape((2, channels, least - 1, least - 1))


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [name for name in models.names() if name not in LONGER])
def test_a_step_lowers_the_loss_and_the_state_goes_round(name: str, rng: np.random.Generator) -> None:
    shape = small_input(name)
    model, twin = build(name, shape[2], seed=1), build(name, shape[2], seed=2)
    images, labels = rng.standard_normal(shape).astype(np.float32), rng.integers(10, size=shape[0])
    optimizer = optim.SGD(model.parameters(), lr=1e-5 if isinstance(model, VGG) else 1e-4)
    with ways.use("numpy"):  # to compile a loop for each shape takes longer than the steps
        before = loss_of(model, images, labels)
        before.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        assert loss_of(model, images, labels).item() < before.item() - 1e-5

    twin.load_state_dict(model.state_dict())
    with no_grad(), ways.use("numpy"):
        outputs = [each.eval()(images[:2]).numpy() for each in (model, twin)]
    assert outputs[0].any()
    np.testing.assert_array_equal(*outputs)


def size_without_statistics(name: str) -> int:
    """Of smaller images, of which a model that does not learn computes its output."""
    return {1: 32 if name in OF_PHOTOS else 8, 4: 8, 8: 16}.get(LEAST[name], 32)


@pytest.mark.sample(5)
@every_model
def test_every_backend_gives_the_same_output_and_gives_the_state_back(
    backend: Backend, name: str, rng: np.random.Generator
) -> None:
    if backend.name == "numpy":
        pytest.skip("it is what the others are compared with")
    if backend.name != "cupy" and name in LONGER:
        pytest.skip("one model of each kind is enough where steps, or compiling for them, are slow")
    size = size_without_statistics(name)
    model = build(name, size)
    images = rng.standard_normal((2, models.default_input(name)[0], size, size)).astype(np.float32)
    state = model.state_dict()
    with no_grad():
        with ways.use("numpy"):
            expected = model.eval()(images).numpy()
        output = model.to(backend.device_name)(images)
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0
    assert str(output.device).startswith(backend.device_name)
    np.testing.assert_allclose(output.numpy(), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    back = model.to("cpu").state_dict()
    assert list(back) == list(state)
    for path, array in state.items():
        np.testing.assert_array_equal(back[path], array)


def test_models_are_created_by_name() -> None:
    assert isinstance(models.create("lenet5"), models.LeNet5)
    assert isinstance(models.create("vgg16_bn"), models.VGG16BN)
    assert models.create("resnet20", seed=3).conv1.weight.seed == 3
    assert models.default_input("resnet50") == (3, 224, 224)
    assert models.default_input("lenet5") == (1, 32, 32)
    assert models.default_input("simplecnn") == models.default_input("mlp") == (1, 28, 28)
    assert models.classifier_names() == [name for name in models.names() if name != "unet"]


@pytest.mark.parametrize("call", [models.create, models.default_input, lambda name: models.image_size_for(name, 1)])
def test_an_unknown_name_is_answered_with_the_nearest(call: Callable[[str], Any]) -> None:
    with pytest.raises(ArgumentError) as raised:
        call("resnet1")
    expected = f"unknown model 'resnet1', expected one of {', '.join(models.names())}; did you mean resnet18?"
    assert str(raised.value) == expected
    with pytest.raises(ArgumentError, match="convnext_tiny, unet$"):
        call("transformer")


def test_the_size_to_train_at() -> None:
    assert [models.image_size_for("lenet5", native) for native in (8, 28, 32)] == [32, 32, 32]
    for name in ("mlp", "simplecnn"):
        assert [models.image_size_for(name, native) for native in (8, 28, 32)] == [28, 28, 32]
    for name in ("resnet20", "resnet50", "vgg16", "convnext_tiny", "squeezenet", "unet"):
        assert [models.image_size_for(name, native) for native in (8, 32, 96)] == [32, 32, 96]


def test_a_u_net_takes_multiples_of_eight() -> None:
    message = "UNet takes images whose size is a multiple of 8, got image_size=36; pad the images"
    with pytest.raises(ArgumentError, match=message):
        models.create("unet", image_size=36)
    message = r"^UNet: expected images \(N, C, H, W\) with H and W multiples of 8, got \(1, 3, 16, 20\); pad the images"
    with pytest.raises(ShapeError, match=message):
        models.create("unet")(np.zeros((1, 3, 16, 20), np.float32))
    assert models.create("unet").output_shape((1, 3, 16, 24)) == (1, 10, 16, 24)


def test_a_new_convnext_starts_as_in_its_paper() -> None:
    model = models.create("convnext_tiny")
    blocks = [layer for _, layer in model.named_layers() if isinstance(layer, CNBlock)]
    np.testing.assert_allclose([block.stochastic_depth.p for block in blocks], np.arange(18) / 17 * 0.1)
    np.testing.assert_array_equal(blocks[5].layer_scale.data, np.full((192, 1, 1), 1e-6, np.float32))
    for weight in (model.features[0][0].weight.data, model.classifier[2].weight.data):
        assert np.abs(weight).max() <= 0.04
        assert weight.std() == pytest.approx(0.0176, rel=0.02)  # of a normal distribution that is cut at two deviations
    assert not blocks[0].block[3].bias.data.any()
    with pytest.raises(ShapeError, match=r"ChannelNorm: expected input \(N, 3, H, W\), got \(1, 2, 4, 4\)"):
        ChannelNorm(3)(np.zeros((1, 2, 4, 4), np.float32))


def test_a_convnext_can_be_pickled() -> None:
    model = models.create("convnext_tiny")
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.features[1][0].layer_scale.data, model.features[1][0].layer_scale.data)


def test_unet_learns_where_bright_pixels_are(rng: np.random.Generator) -> None:
    """Labels (N, H, W), one a pixel, of which the border does not count."""
    images = rng.standard_normal((4, 1, 16, 16)).astype(np.float32)
    labels = (images[:, 0] > 0.3).astype(int)
    labels[:, 0] = 255
    model = models.create("unet", num_classes=2, in_channels=1)
    optimizer = optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model(images), labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    found = model(images).numpy().argmax(axis=1)
    assert (found == labels)[:, 1:].mean() > 0.8


@pytest.fixture
def small_cifar(tmp_path: Path, rng: np.random.Generator) -> Path:
    """CIFAR-10's files with 8 random images each."""
    for file in ("data_batch_1.bin", "test_batch.bin"):
        records = rng.integers(0, 256, (8, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(8)
        records.tofile(tmp_path / file)
    return tmp_path


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet"])
def test_a_model_for_224_trains_on_cifar_at_32(name: str, small_cifar: Path) -> None:
    out = small_cifar / "run"
    line = ["train", "--data", "cifar10", "--data-dir", str(small_cifar), "--model", name, "--device", "cpu"]
    assert main([*line, "--epochs", "1", "--batch-size", "4", "--out", str(out), "--quiet"]) == 0
    model = RunFolder(out).load_model()
    assert type(model) is type(models.create(name))
    assert RunFolder(out).load_preprocess().image_size == 32
    assert main(["evaluate", str(out), "--device", "cpu"]) == 0


@pytest.mark.parametrize("command", ["train", "agree"])
def test_a_model_that_labels_pixels_is_no_choice_where_images_have_one_label(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--model", "unet"])
    message = (
        "--model: unet labels every pixel, and images have one label here; choose a classifier, e.g. resnet20; see"
    )
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([command, "--model", "resnet2"])
    assert f"expected one of {', '.join(models.classifier_names())}; did you mean resnet20?" in capsys.readouterr().err
