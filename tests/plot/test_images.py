"""Sheets of images: which images, which labels, and that what was normalised is put back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data, plot
from gpucnn.errors import ArgumentError
from gpucnn.plot.shown_image import picture
from gpucnn.training import evaluate
from tests.html_page import Page
from tests.training.test_evaluate import Fixed

pytest.importorskip("matplotlib", reason="figures need the extra plot")

RAW = np.arange(6 * 2 * 3 * 3, dtype=np.uint8).reshape(6, 2, 3, 3)[:, :1]
NORMALISED = data.Preprocess(1, 3, 3, 255, "pad", (0.5,), (0.25,))


def shown(figure: Any) -> list[Any]:
    """The places with an image."""
    return [axes for axes in figure.axes if axes.images]


def test_mistakes_have_their_images_the_worst_first() -> None:
    logits = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.99, 0.01]]).astype(np.float32)
    images = np.repeat(logits[:, None, None], 2, axis=2)
    loader = data.DataLoader(data.ArrayDataset(images, np.array([0, 0, 1, 1])), 3)
    result = evaluate(Fixed(), loader, ["cat", "$dog$"])
    figure = plot.mistakes(result)
    places = shown(figure)
    assert [axes.get_title(loc="left") for axes in places] == [
        "$dog$,\nanswered cat\n99 %",
        "cat,\nanswered $dog$\n80 %",
        "$dog$,\nanswered cat\n60 %",
    ]
    low, high = images[1:].min(), images[1:].max()
    for axes, index in zip(places, (3, 1, 2), strict=True):
        expected = (images[index, 0].astype(float) - low) / (high - low)
        np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=1e-12)
    key = "what it is, what was answered, and with which probability"
    assert figure.get_suptitle() == f"3 of 4 images answered wrong:\n{key}\nblack is {low:.4g}, white {high:.4g}"
    in_digits = plot.mistakes(evaluate(Fixed(), loader))
    assert shown(in_digits)[0].get_title(loc="left") == "1, answered 0\n99 %"
    assert figure.alt.startswith(
        "3 of 4 images answered wrong. Shown: image 3, $dog$ answered with cat at 99 %; image 1, "
    )
    assert len(shown(plot.mistakes(result, 1))) == 1
    right = evaluate(Fixed(), data.DataLoader(data.ArrayDataset(images[:1], np.array([0])), 3))
    assert plot.mistakes(right).alt == "0 of 1 image answered wrong."
    images[3] = np.nan
    assert "\nno number" in shown(plot.mistakes(evaluate(Fixed(), loader)))[0].get_title(loc="left")


def test_a_batch_is_as_training_gets_it_and_normalised_back() -> None:
    dataset = data.ArrayDataset(RAW, np.array([0, 1, 2, 0, 1, 2]), NORMALISED)
    loader = data.DataLoader(
        data.Subset(dataset, np.array([5, 3, 1])), 2, shuffle=True, seed=4, augment=data.RandomFlip()
    )
    loader.epoch = 7
    figure = plot.batch(loader, ["a", "b_", "c"], 2)
    assert loader.epoch == 7
    raw = data.DataLoader(
        data.Subset(data.ArrayDataset(RAW / np.float32(255), np.array([0, 1, 2, 0, 1, 2])), np.array([5, 3, 1])), 2, shuffle=True,
        seed=4, augment=data.RandomFlip(),
    )  # fmt: skip
    images, labels = next(raw.batches(7))
    for axes, image, label in zip(shown(figure), images, labels, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), image[0], atol=1e-6)
        assert axes.get_title(loc="left") == ("a", "b_", "c")[label]
    assert (
        figure.alt == f"Images as training gets them. Labels: {'; '.join(('a', 'b_', 'c')[label] for label in labels)}."
    )


def test_a_batch_that_no_preprocess_made_is_shown_as_in_a_notebook() -> None:
    steps = np.repeat(np.array([10, 20, 30, 40], np.uint8), 4).reshape(4, 1, 2, 2)
    for images, expected, note in (
        (steps, np.array([10, 20, 30, 40]) / 255, ""),
        (steps / np.float32(255), np.array([10, 20, 30, 40]) / 255, ""),
        ((steps / 10 - 2).astype(np.float32), np.arange(4) / 3, "black is -1, white 2"),
        (steps.astype(np.int64), np.arange(4) / 3, "black is 10, white 40"),
    ):
        loader = data.DataLoader(data.ArrayDataset(images, np.array([0, 1, 0, 1])), 4)
        figure = plot.batch(loader)
        found = [axes.images[0].get_array() for axes in shown(figure)]
        np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], (4, 2, 2)), atol=1e-7)
        assert figure.get_suptitle().splitlines()[1:] == [note][: bool(note)]
        page = Page(loader._repr_html_())
        np.testing.assert_array_equal(page.images, np.rint(np.array(found) * 255))
        assert page.texts[0].endswith(note)


class Named(list[tuple[np.ndarray, int]]):
    """Samples that name their classes."""

    class_names = ("cat", "dog")


def test_names_are_those_of_the_whole_that_the_images_are_a_part_of(tmp_path: Path) -> None:
    for place in range(4):
        (tmp_path / f"class {place % 2}").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / f"class {place % 2}" / f"{place}.png")
    part = data.Subset(data.Subset(data.ImageFolder(tmp_path, 4), np.array([0, 1, 3])), np.array([2, 0]))
    for dataset, names in (
        (part, ["class 1", "class 0"]),
        (Named([(np.zeros((1, 2, 2)), 1), (np.zeros((1, 2, 2)), 0)]), ["dog", "cat"]),
    ):
        loader = data.DataLoader(dataset, 2)
        assert [axes.get_title(loc="left") for axes in shown(plot.batch(loader))] == names
        assert Page(loader._repr_html_()).alts == names


def test_a_batch_has_the_class_names_of_its_data_set() -> None:
    dataset = data.ArrayDataset(RAW, np.array([0, 1, 2, 0, 1, 2]), NORMALISED)
    dataset.class_names = ("ant", "bee", "cow")
    figure = plot.batch(data.DataLoader(data.Subset(dataset, np.array([5, 3, 1])), 3))
    assert [axes.get_title(loc="left") for axes in shown(figure)] == ["cow", "ant", "bee"]


def test_mixed_labels_are_told_with_their_shares() -> None:
    dataset = data.ArrayDataset(RAW, np.array([0, 1, 2, 0, 1, 2]), NORMALISED)
    loader = data.DataLoader(dataset, 6, mix=data.Mixup(1.0))
    _, labels = next(loader.batches(0))
    for axes, shares in zip(shown(plot.batch(loader)), labels, strict=True):
        order = [place for place in np.argsort(-shares, kind="stable") if shares[place] >= 0.005]
        lines = [f"{place} {shares[place]:.2f}" for place in order] if len(order) > 1 else [f"{order[0]}"]
        assert axes.get_title(loc="left").splitlines() == lines


def test_images_of_any_kind_are_shown() -> None:
    colours = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)
    np.testing.assert_allclose(picture(colours), np.moveaxis(colours, 0, 2), rtol=1e-6)
    np.testing.assert_allclose(picture(colours * 8 - 3), np.moveaxis(colours, 0, 2), atol=1e-6)
    statistics = data.Preprocess(3, 3, 3, 255, "pad", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    mean, std = np.reshape([0.5, 0.4, 0.3], (3, 1, 1)), np.reshape([0.2, 0.25, 0.3], (3, 1, 1))
    np.testing.assert_allclose(picture((colours - mean) / std, statistics), np.moveaxis(colours, 0, 2), atol=1e-12)
    np.testing.assert_allclose(picture(colours[:2]), colours[:2].mean(axis=0), rtol=1e-6)
    assert picture(np.full((1, 2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]
    assert picture(np.full((1, 2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]


def test_wrong_arguments_are_told() -> None:
    dataset = data.ArrayDataset(RAW, np.array([0, 1, 2, 0, 1, 2]), NORMALISED)
    with pytest.raises(ArgumentError, match=r"^mistakes: result must be what evaluate gives, got 3$"):
        plot.mistakes(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^batch: count must be at most 100, which fit on a sheet, got 101$"):
        plot.batch(data.DataLoader(dataset, 2), count=101)
    with pytest.raises(ArgumentError, match=r"^batch: count must be an int >= 1, got 0$"):
        plot.batch(data.DataLoader(dataset, 2), count=0)
    for names in (["a"], "abc", 3):
        with pytest.raises(
            ArgumentError, match=r"^batch: class_names must be a list of 3 names, as the data set has classes, got "
        ):
            plot.batch(data.DataLoader(dataset, 2), names)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="batch: "):
        plot.batch(dataset)  # type: ignore[arg-type]
