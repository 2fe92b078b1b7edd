"""The patches that excite a filter most, against a plain search; and the stages that they are shown of."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, explain, layers, models
from gpucnn.errors import ArgumentError, ShapeError
from tests.backends import Backend, host

IMAGES = np.random.default_rng(0).standard_normal((70, 1, 8, 9)).astype(np.float32)


def net() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(1, 3, 3, padding=1), layers.MaxPool2d(2), layers.ReLU(), layers.Conv2d(3, 4, 2), layers.Flatten(), seed=5
    )  # fmt: skip


def test_they_are_those_of_a_plain_search(backend: Backend) -> None:
    model = net().to(backend.device_name)
    found = explain.exciting_patches(model, IMAGES, "3", count=5, filters=[3, 0])
    assert list(found) == [3, 0]
    x: Any = Tensor(backend.array(IMAGES))
    for layer in list(model)[:4]:
        x = layer(x)
    maps = host(x.array).astype(np.float64)
    for number, patches in found.items():
        search = sorted(
            (
                (maps[image, number].max(), image, *np.unravel_index(maps[image, number].argmax(), (3, 3)))
                for image in range(70)
            ),
            key=lambda one: -one[0],
        )[:5]
        assert [patch[:4] for patch in patches] == search
        assert all(isinstance(patch.image, int) and isinstance(patch.box.top, int) for patch in patches)
        for patch in patches:  # seen are 6x6 pixels around, those that are in the image
            top, left = 2 * patch.row - 1, 2 * patch.column - 1
            assert patch.box == (max(top, 0), max(left, 0), min(top + 6, 8), min(left + 6, 9))
            np.testing.assert_array_equal(
                patch.box.of(IMAGES[patch.image]),
                IMAGES[patch.image, :, max(top, 0) : top + 6, max(left, 0) : left + 6],
            )


def test_batches_of_a_loader_are_taken_as_the_whole() -> None:
    whole = explain.exciting_patches(net(), IMAGES, "3", 4)
    assert list(whole) == [0, 1, 2, 3]
    loader = data.DataLoader(data.ArrayDataset(IMAGES, np.zeros(70, int)), batch_size=32)
    assert explain.exciting_patches(net(), loader, "3", 4) == whole
    assert explain.exciting_patches(net(), [IMAGES[:50], Tensor(IMAGES[50:])], "3", 4) == whole
    assert explain.exciting_patches(net(), [[IMAGES[:50], np.zeros(50)], [IMAGES[50:], np.zeros(20)]], "3", 4) == whole


def test_a_loader_that_was_looked_at_gives_what_it_would_have_given() -> None:
    dataset = data.ArrayDataset(IMAGES, np.arange(70))
    looked_at, other = (data.DataLoader(dataset, 70, shuffle=True, seed=3) for _ in range(2))
    for loader in (looked_at, other):
        next(iter(loader))
    found = explain.exciting_patches(net(), looked_at, "3", 1, [0])
    assert looked_at.epoch == 1
    (images, labels), (_, expected) = next(iter(looked_at)), next(iter(other))
    np.testing.assert_array_equal(labels, expected)
    assert found == explain.exciting_patches(net(), images, "3", 1, [0]), "they were those of the epoch that came next"


def test_a_filter_that_nothing_excites_has_none_and_what_is_not_a_number_excites_nothing() -> None:
    model = net()
    model[0].weight.assign(np.zeros((3, 1, 3, 3), np.float32))
    model[0].weight.array[1, 0, 1, 1] = 1
    images = IMAGES[:3].copy()
    images[1] = np.nan
    found = explain.exciting_patches(model, images, "0")
    assert (found[0], found[2]) == ([], [])
    assert [patch.image for patch in found[1]] == sorted([0, 2], key=lambda place: -images[place].max())
    assert [patch.value for patch in found[1]] == sorted([float(images[0].max()), float(images[2].max())], reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": [4]}, "exciting_patches: filters must be ints from 0 to 3, got"),
        ({"filters": []}, "exciting_patches: filters must be ints from 0 to 3, got"),
        ({"count": 0}, "exciting_patches: count must be an int >= 1, got 0"),
        ({"layer": "4"}, r"exciting_patches: 4 \(Flatten\) gives \(64, 36\), and no feature maps \(N, C, H, W\); give an earlier"),
        ({"layer": "5"}, "exciting_patches: Sequential has no layer '5'; it has 0, 1, 2, 3, 4"),
        ({"images": []}, "exciting_patches: images has no batch; give one image at least"),
        ({"images": 3}, r"exciting_patches: images must be an array \(N, C, H, W\), or give batches of such, got 3"),
        ({"images": IMAGES[0]}, r"exciting_patches: expected images \(N, C, H, W\), got \(1, 8, 9\)"),
        ({"images": [IMAGES, IMAGES[:, :, :7]]}, r"exciting_patches: images of one size are needed, got \(8, 9\) and \(7, 9\)"),
    ],
)  # fmt: skip
def test_what_will_not_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, ShapeError), match=message):
        explain.exciting_patches(**{"model": net(), "images": IMAGES, "layer": "3", **arguments})


STAGES = {
    "lenet5": (32, ["conv1", "conv2"]), "mlp": (8, []), "vgg_mini": (8, ["features.5", "features.12"]),
    "resnet20": (8, ["layer1.2.bn2", "layer2.2.bn2", "layer3.2.bn2"]),
    "densenet40_12": (8, ["block1.11", "block2.11", "norm"]),
    "unet": (8, ["down1.5", "down2.5", "join3.5", "join2.5", "join1.5"]),
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_stages_end_where_maps_change_their_size(name: str) -> None:
    size, expected = STAGES[name]
    model = models.create(name, image_size=size)
    assert explain.stages(model, np.ones(model.built_for())) == expected


def test_what_a_block_gives_counts_before_what_the_next_one_makes_of_it_first() -> None:
    """And what is pooled alone is no stage."""

    def block(inputs: int, outputs: int) -> layers.Layer:
        return layers.Residual(
            layers.Sequential(layers.Conv2d(inputs, 2, 1), layers.Conv2d(2, outputs, 3, stride=2, padding=1)),
            layers.Conv2d(inputs, outputs, 1, stride=2),
        )

    model = layers.Sequential(block(1, 3), block(3, 4), layers.MaxPool2d(2), layers.Flatten())
    assert explain.stages(model, np.ones((1, 16, 16))) == ["0.block.0", "0", "1"]
