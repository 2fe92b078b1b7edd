"""The hierarchy: patches are parts of the images, and the filters their weights."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data, explain, layers, plot
from gpucnn.errors import ArgumentError
from gpucnn.runs.trained_run import TrainedRun, Weights

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def model_with(channels: int) -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(channels, 5, 3, padding=1, activation="relu"), layers.MaxPool2d(2),
        layers.Conv2d(5, 3, 3, activation="relu"), layers.Flatten(), layers.Linear(3 * 4 * 4, 2),
    )  # fmt: skip


def tile(array: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    """Of a mosaic whose gaps are a pixel wide."""
    return array[row * (size + 1) : row * (size + 1) + size, column * (size + 1) : column * (size + 1) + size]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_stands_beside_what_excites_it_most(channels: int) -> None:
    images = np.random.default_rng(3).uniform(size=(12, channels, 12, 12)).astype(np.float32)
    model = model_with(channels)
    figure = plot.hierarchy(model, images)
    filters, patches, deep_filters, deep_patches = figure.axes
    assert patches.get_title(loc="left") == "1. 0, which sees 3x3 of 12x12 pixels"
    assert deep_patches.get_title(loc="left") == "2. 2, which sees 8x8 of 12x12 pixels"
    for axes, layer, size in ((patches, "0", 3), (deep_patches, "2", 8)):
        found = explain.exciting_patches(model, images, layer, 9)
        strongest = sorted(found, key=lambda number: -found[number][0].value)[:4]
        assert [text.get_text() for text in axes.get_yticklabels()] == [str(number) for number in sorted(strongest)]
        array = np.ma.filled(axes.images[0].get_array(), np.nan)
        for row, number in enumerate(sorted(strongest)):
            for column, patch in enumerate(found[number]):
                part = np.moveaxis(patch.box.of(images[patch.image]), 0, 2)
                shown = tile(array, row, column, size).reshape(size, size, -1)
                inside = ~np.isnan(shown[..., 0]) if channels == 1 else shown[..., 3] == 1
                if patch.box.top == 0 and not inside.all():
                    assert inside[-1].any(), "what is beyond the upper edge is above"
                np.testing.assert_allclose(shown[inside][:, :channels].ravel(), part.ravel(), rtol=1e-6)
    weights: Any = model[0]
    shown = np.ma.filled(filters.images[0].get_array(), np.nan)
    first = int(patches.get_yticklabels()[0].get_text())
    if channels == 1:
        np.testing.assert_array_equal(tile(shown, 0, 0, 3), weights.weight.data[first, 0])
    assert deep_filters.get_title(loc="left") == "filter"
    assert figure.get_suptitle() == "What excites filters of Sequential most, in 12 images"
    assert figure.alt.startswith(
        "The parts of 12 images that excite filters most, stage by stage: 0 sees 3x3 pixels, filters "
    )


def test_a_loader_s_images_are_normalised_back() -> None:
    raw = np.random.default_rng(3).integers(0, 256, (5, 1, 12, 12), dtype=np.uint8)
    dataset = data.ArrayDataset(raw, np.zeros(5, int), data.Preprocess(1, 12, 12, 255, "pad", (0.5,), (0.25,)))
    figure = plot.hierarchy(model_with(1), data.DataLoader(dataset, 2))
    assert figure.get_suptitle().endswith("in 5 images")
    drawn = np.ma.filled(figure.axes[1].images[0].get_array(), np.nan)
    alike = plot.hierarchy(model_with(1), dataset)
    assert alike.get_suptitle().endswith("in 5 images")
    known = set(np.round(raw.ravel() / 255, 6))
    assert {value for value in np.round(drawn.ravel(), 6) if not np.isnan(value)} <= known


def test_a_data_set_is_looked_at_from_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["gpucnn.plot.hierarchy"], "MOST_IMAGES", 3)
    seen: list[int] = []

    class Watched(data.ArrayDataset):
        def __getitem__(self, indices: Any) -> Any:
            seen.extend(np.ravel(indices).tolist())
            return super().__getitem__(indices)

    images = np.random.default_rng(3).uniform(size=(9, 1, 12, 12)).astype(np.float32)
    figure = plot.hierarchy(model_with(1), Watched(images, np.arange(9)))
    assert figure.get_suptitle().endswith("in 3 images")
    assert sorted(seen) == [0, 4, 8]
    for wrong in (3, {"a": 1}):
        with pytest.raises(
            ArgumentError, match=r"^hierarchy: images must be an array \(N, C, H, W\), a data set or a DataLoader"
        ):
            plot.hierarchy(model_with(1), wrong)  # type: ignore[arg-type]


def test_a_model_without_filters_is_told() -> None:
    flat = layers.Sequential(layers.Flatten(), layers.Linear(16, 2))
    with pytest.raises(ArgumentError, match=r"^hierarchy: Sequential has no filters that these images excite$"):
        plot.hierarchy(flat, np.zeros((1, 1, 4, 4), np.float32))


def test_a_run_s_images_are_files(tmp_path: Path) -> None:
    raw = np.random.default_rng(3).integers(0, 256, (3, 1, 12, 12), dtype=np.uint8)
    files = [tmp_path / f"{place}.png" for place in range(3)]
    for file, one in zip(files, raw, strict=True):
        Image.fromarray(one[0]).save(file)
    preprocess = data.Preprocess(1, 12, 12, 255, "crop", (0.5,), (0.5,))
    run = TrainedRun(model_with(1), preprocess, ["a", "b"], {}, Weights("last", tmp_path, {}))
    expected = plot.hierarchy(run, preprocess(raw))
    for given in (files, [str(file) for file in files], tmp_path, raw):
        figure = plot.hierarchy(run, given)
        assert figure.alt == expected.alt
        for axes, other in zip(figure.axes, expected.axes, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), other.images[0].get_array())
    with pytest.raises(
        ArgumentError, match="^hierarchy: image '0.png' is read as a run reads it; give what gpucnn.load"
    ):
        plot.hierarchy(run.model, ["0.png"])
