"""A model's picture: what stands in it, and that it is a file of its own that any browser can show."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, layers, models
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GraphError, RunError, ShapeError

SVG = "{http://www.w3.org/2000/svg}"


class Read:
    """What an SVG file shows, read as XML."""

    def __init__(self, svg: str) -> None:
        self.root = ET.fromstring(svg)
        self.texts = ["".join(text.itertext()) for text in self.root.iter(f"{SVG}text")]
        self.boxes = [
            ["".join(text.itertext()) for text in group.iter(f"{SVG}text")] for group in self.root.iter(f"{SVG}g")
        ]
        """The texts of each box, from top to bottom."""

    def count(self, kind: str) -> int:
        return sum(one.get("class") == kind for one in self.root.iter())

    def frames(self) -> list[str]:
        return [
            "".join(text.itertext()) for text in self.root.iter(f"{SVG}text") if text.find(f"{SVG}tspan") is not None
        ]


def numbers(read: Read, kind: str, names: str) -> list[tuple[float, ...]]:
    return [
        tuple(float(one.get(name, "0")) for name in names.split())
        for one in read.root.iter()
        if one.get("class") == kind
    ]


def test_lenet5_box_by_box() -> None:
    read = Read(models.LeNet5().diagram())
    assert read.boxes == [
        ["conv1", "(N, 6, 28, 28)", "156 parameters", "Conv2d + ReLU, 6 filters 5x5"],
        ["pool1", "(N, 6, 14, 14)", "MaxPool2d, 2x2, stride 2"],
        ["conv2", "(N, 16, 10, 10)", "2,416 parameters", "Conv2d + ReLU, 16 filters 5x5"],
        ["pool2", "(N, 16, 5, 5)", "MaxPool2d, 2x2, stride 2"],
        ["flatten", "(N, 400)", "Flatten"],
        ["fc1", "(N, 120)", "48,120 parameters", "Linear + ReLU, 400 to 120"],
        ["fc2", "(N, 84)", "10,164 parameters", "Linear + ReLU, 120 to 84"],
        ["output", "(N, 10)", "850 parameters", "Linear, 84 to 10"],
    ]
    assert read.texts[:3] == ["LeNet5", "images", "(N, 1, 32, 32)"]
    assert read.texts[-1] == "61,706 parameters, 416,520 multiply-adds an image"
    assert read.count("residual") == read.count("frame") == 0
    assert read.count("head") == 8


def test_resnet20_has_a_residual_path_in_every_block() -> None:
    read = Read(models.create("resnet20").diagram())
    blocks = [f"layer{stage}.{block}CifarBlock" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert read.frames() == blocks
    assert read.count("residual") == read.count("frame") == 9
    assert next(box for box in read.boxes if box[0] == "bn2") == [
        "bn2", "(N, 16, 32, 32)", "32 parameters", "BatchNorm2d + residual + ReLU",
    ]  # fmt: skip
    beside = [box for box in read.boxes if box[0] in ("getitem", "pad")]
    assert beside[0] == ["getitem", "(N, 16, 16, 16)", "x[:, :, ::2, ::2]"]
    assert [box[0] for box in beside] == ["getitem", "pad"] * 2
    lines = [one.get("d", "") for one in read.root.iter() if one.get("class") == "residual"]
    ends = [re.fullmatch(r"M([\d.]+) ([\d.]+)H.*q0 8 -8 8H([\d.]+)", line) for line in lines]
    found = sorted((float(end[2]), float(end[1]), float(end[3])) for end in ends if end)
    for (x, y, width, height), (start, left, right) in zip(
        numbers(read, "frame", "x y width height"), found, strict=True
    ):
        assert x < left < right < x + width
        assert y < start < y + height


def test_deep_models_are_folded_and_nothing_is_lost() -> None:
    model = models.create("resnet50", image_size=32)
    read = Read(model.diagram())
    assert read.frames() == [
        "layer1.0Bottleneck", "layer1.1 to .2Bottleneck, 2 times", "layer2.0Bottleneck", "layer2.1 to .3Bottleneck, 3 times",
        "layer3.0Bottleneck", "layer3.1 to .5Bottleneck, 5 times", "layer4.0Bottleneck", "layer4.1 to .2Bottleneck, 2 times",
    ]  # fmt: skip
    assert read.count("residual") == 8
    assert [
        "downsample.0, .1",
        "(N, 512, 4, 4)",
        "132,096 parameters",
        "Conv2d + BatchNorm2d",
        "512 filters 1x1, stride 2",
    ] in read.boxes
    assert [
        "conv2, bn2",
        "(N, 64, 8, 8)",
        "36,992 parameters",
        "Conv2d + BatchNorm2d + ReLU, 64 filters 3x3",
    ] in read.boxes
    told = [int(text.split()[0].replace(",", "")) for text in read.texts if text.endswith("parameters")]
    in_boxes = {
        int(text.split()[0].replace(",", "")) for box in read.boxes for text in box if text.endswith("parameters")
    }
    first, last = 9536, 20490
    assert {first, last} < in_boxes
    frames = [int(text.split()[0].replace(",", "")) for text in self_texts(read) if text.endswith("parameters")]
    assert sum(frames) + first + last == model.parameter_count() == 23_528_522
    assert len(told) == len(frames) + sum(text.endswith("parameters") for box in read.boxes for text in box)


def self_texts(read: Read) -> list[str]:
    """The texts outside of boxes, but the last line."""
    inside = {id(text) for group in read.root.iter(f"{SVG}g") for text in group.iter(f"{SVG}text")}
    return ["".join(text.itertext()) for text in read.root.iter(f"{SVG}text") if id(text) not in inside][:-1]


def test_blocks_that_grow_are_folded_with_what_they_grow_from_and_to() -> None:
    read = Read(models.create("densenet40_12", image_size=8).diagram())
    assert read.frames()[0] == "block1.0 to .11DenseLayer, 12 times"
    assert ["conv", "(N, 12, 8, 8)", "1,728-15,984 parameters", "Conv2d, 12 filters 3x3"] in read.boxes
    assert ["concatenate", "(N, 28-160, 8, 8)", "of the channels"] in read.boxes
    assert read.count("residual") == 3


def test_unet_s_levels_are_joined_around_what_is_below() -> None:
    read = Read(models.create("unet", image_size=16).diagram())
    lines = [one.get("d", "") for one in read.root.iter() if one.get("class") == "residual"]
    spans = sorted(
        (float(re.search(r"q0|V([\d.]+)q0", line)[1]), float(line.split()[1].split("H")[0])) for line in lines
    )  # type: ignore[index]
    (inner_end, inner_start), (middle_end, middle_start), (outer_end, outer_start) = spans
    assert outer_start < middle_start < inner_start < inner_end < middle_end < outer_end
    lanes = [float(re.search(r"H([\d.]+)q", line)[1]) for line in lines]  # type: ignore[index]
    assert len(set(lanes)) == 3
    assert ["up1", "(N, 16, 16, 16)", "2,064 parameters", "ConvTranspose2d, 16 filters 2x2, stride 2"] in read.boxes


@pytest.mark.parametrize("name", ["squeezenet", "mobilenet_v2", "convnext_tiny", "alexnet", "mlp"])
def test_boxes_stand_apart_within_the_picture(name: str) -> None:
    read = Read(models.create(name, image_size=32).diagram())
    boxes = sorted(numbers(read, "box", "x y width height"))
    for place, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x < x + width <= float(read.root.get("width", "0"))
        assert 0 <= y < y + height <= float(read.root.get("height", "0"))
        for other_x, other_y, other_width, other_height in boxes[:place]:
            beside = other_x + other_width <= x or x + width <= other_x
            assert beside or other_y + other_height <= y or y + height <= other_y


def test_texts_fit_into_their_boxes() -> None:
    long = layers.Sequential({"a" * 200: layers.Conv2d(1, 1, 1)})
    read = Read(long.diagram((1, 4, 4)))
    assert read.boxes[0][0].endswith("...")
    assert len(read.boxes[0][0]) < 60
    titles = [title.text or "" for title in read.root.iter(f"{SVG}title")]
    assert titles[1].startswith("a" * 200)


@pytest.mark.parametrize(
    "name", ["<b>&\"'", "]]>", "</svg><script>alert(1)</script>", "\x00\x1b[31m", "a\ufffeb\uffff", "größe 重み"]
)
def test_names_are_shown_as_text(name: str) -> None:
    svg = layers.Sequential({name: layers.Conv2d(1, 2, 1)}).diagram((1, 2, 2))
    assert svg.isascii()
    read = Read(svg)
    shown = (
        name.replace("\x00", r"\x00").replace("\x1b", r"\x1b").replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")
    )
    assert read.boxes[0][0] == shown
    assert [one.tag for one in read.root.iter() if "script" in one.tag] == []


def test_the_file_needs_nothing_else() -> None:
    svg = models.create("resnet20", image_size=8).diagram()
    read = Read(svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"href|@import|url\(|<image|<script", svg)
    title, description = read.root.find(f"{SVG}title"), read.root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "ResNet20 for images (N, 3, 8, 8)"
    assert description is not None
    assert "layer1.0.conv1: Conv2d, 16 filters 3x3, (N, 16, 8, 8), 2,304 parameters; " in (description.text or "")
    assert "@media (prefers-color-scheme: dark)" in svg
    assert read.root.get("role") == "img"


def test_every_rule_of_the_style_is_for_this_picture_alone() -> None:
    """Inlined in a page, an SVG's style holds for the whole page."""
    style = models.MLP(image_size=2).diagram().partition("<style>")[2].partition("</style>")[0]
    rules = re.sub(r"@media[^{]*\{", "", style)
    selectors = re.findall(r"([^{}]+)\{[^{}]*\}", rules)
    assert len(selectors) > 10
    assert [one for one in selectors if not one.strip().startswith(".gpucnn-diagram")] == []


def test_notebooks_show_it() -> None:
    diagram = models.LeNet5().diagram()
    shown = diagram._repr_svg_()
    assert shown == diagram
    assert type(shown) is str


class Inception(layers.Layer):
    """Four ways side by side, of which one parts in two."""

    def __init__(self) -> None:
        self.one = layers.Conv2d(2, 2, 1)
        self.three = layers.Sequential(layers.Conv2d(2, 2, 1), layers.Conv2d(2, 2, 3, padding=1))
        self.parted = layers.Conv2d(2, 2, 1)
        self.left, self.right = layers.Conv2d(2, 1, 1), layers.Conv2d(2, 1, 3, padding=1)
        self.last = layers.Linear(2, 2)

    def forward(self, x: Any) -> Tensor:
        parted = self.parted(x)
        joined = F.concatenate([self.left(parted), self.right(parted)], axis=1)
        y = F.concatenate([self.one(x), self.three(x), joined, x], axis=1)
        return self.last(y[:, :2].mean(axis=(2, 3)) + 1)


def test_whatever_parts_and_joins_is_shown() -> None:
    read = Read(Inception().diagram((2, 4, 4)))
    names = [box[0] for box in read.boxes]
    assert sorted(names) == sorted(
        [
            "one",
            "three.0",
            "three.1",
            "parted",
            "left",
            "right",
            "concatenate",
            "concatenate",
            "getitem",
            "mean",
            "add",
            "last",
        ]
    )
    into = read.count("residual") + sum(one.get("class") == "head" for one in read.root.iter())
    edges = 12 + 1 + 3  # each box takes one, and the two that join 2 and 4
    chains = sum(len(path.get("d", "").split("M")) - 2 for path in read.root.iter() if path.get("class") == "residual")
    assert into + chains == edges


def test_shapes_are_asked_for_and_checked_as_in_a_summary() -> None:
    layer = layers.Conv2d(3, 4, 3)
    with pytest.raises(
        ArgumentError, match=r"Conv2d: diagram needs the shape of an input.*e\.g\. diagram\(\(3, 32, 32\)\)"
    ):
        layer.diagram()
    with pytest.raises(ShapeError, match=r"expected input \(N, 3, H, W\), got \(1, 2, 8, 8\)"):
        layer.diagram((2, 8, 8))
    with pytest.raises(
        ShapeError, match=r"ReLU: an input's shape is a tuple \(N, \.\.\.\) of ints >= 0, got \(1, 'abc'\)"
    ):
        layers.ReLU().diagram("abc")  # type: ignore[arg-type]
    assert "(N, 4, 6, 6)" in layer.diagram((3, 8, 8))
    assert "(N, 3, 40, 40)" in models.create("resnet20").diagram((3, 40, 40))


def test_a_batch_axis_is_told_with_the_shape_to_give() -> None:
    for model, shape in ((models.LeNet5(), (1, 1, 32, 32)), (layers.Conv2d(3, 4, 3), (1, 3, 32, 32))):
        for look in (model.diagram, model.summary):
            words = f"{look.__name__} takes a shape without the batch axis, got {shape}; give {shape[1:]}"
            with pytest.raises(ShapeError, match=re.escape(words) + "$"):
                look(shape)
    assert "(N, 3, 4, 5, 7)" in layers.Linear(6, 7).diagram((3, 4, 5, 6))  # where four axes are right


def test_a_prompt_has_one_short_line() -> None:
    assert re.fullmatch(
        r"<Diagram of LeNet5 for images \(N, 1, 32, 32\), \d,\d{3} letters of SVG>", repr(models.LeNet5().diagram())
    )
    assert str(models.LeNet5().diagram()).startswith("<svg ")


def test_it_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    diagram, file = models.LeNet5().diagram(), tmp_path / "model.svg"
    diagram.save(file)
    assert file.read_text() == diagram
    with (
        mock.patch.object(Path, "replace", side_effect=OSError(28, "No space left on device")),
        pytest.raises(RunError, match=r"model\.svg: "),
    ):
        models.MLP().diagram().save(str(file))
    assert file.read_text() == diagram
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(RunError, match=r"none.model\.svg: "):
        diagram.save(tmp_path / "none" / "model.svg")
    with pytest.raises(
        ArgumentError, match=r"^path: a diagram is an SVG file, got .*model\.png'; call it e\.g\. model\.svg$"
    ):
        diagram.save(tmp_path / "model.png")
    with pytest.raises(ArgumentError, match="^path must be a path, got None$"):
        diagram.save(None)  # type: ignore[arg-type]


def test_a_layer_that_is_called_again_says_so() -> None:
    shared = layers.Conv2d(3, 3, 1)
    model = layers.Sequential(shared, layers.BatchNorm2d(3), shared, shared)
    assert [box[:1] + box[2:] for box in Read(model.diagram((3, 4, 4))).boxes] == [
        ["0", "12 parameters", "Conv2d, 3 filters 1x1"],
        ["1", "6 parameters", "BatchNorm2d"],
        ["0", "Conv2d, 3 filters 1x1, again"],
        ["0", "Conv2d, 3 filters 1x1, again"],
    ]


def test_a_block_whose_layers_are_one_box_has_its_frame() -> None:
    """A convolution is computed with its ReLU: the block around them is to be seen as others are."""
    block = layers.Sequential(layers.Conv2d(3, 4, 3), layers.ReLU())
    read = Read(layers.Sequential(block, layers.Flatten(), layers.Linear(16, 2)).diagram((3, 4, 4)))
    assert read.frames() == ["0Sequential"]


def test_nothing_but_images_is_a_picture_too() -> None:
    assert Read(layers.Identity().diagram((1, 2, 2))).texts == [
        "Identity", "images", "(N, 1, 2, 2)", "0 parameters, 0 multiply-adds an image",
    ]  # fmt: skip


def test_the_model_stays_as_it_is_and_no_weight_is_drawn() -> None:
    model = models.create("vgg11", image_size=32)
    model.fc = layers.Linear(2, 2)
    seen: list[Any] = []
    model.register_forward_hook(lambda *given: seen.append(given))
    model.diagram()
    assert model.training
    assert seen == []
    assert all(parameter._data is None for parameter in model.parameters())


def test_numpy_in_a_forward_is_told_not_drawn() -> None:
    model = layers.Sequential(
        layers.Conv2d(1, 1, 1), layers.Lambda(lambda x: Tensor(np.tanh(x.numpy()))), layers.ReLU()
    )
    with pytest.raises(GraphError, match="a graph cannot follow"):
        model.diagram((1, 2, 2))
