"""Where a model looks: the panels have the image, and what `explain` found."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import Tensor, data, explain, layers, plot
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.plot.seeing import IMAGE, Corner

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def test_grad_cam_is_brightest_in_the_known_corner() -> None:
    model = Corner()
    figure = plot.grad_cam(model, IMAGE)
    image, heat, upon = (axes.images[0].get_array() for axes in figure.axes[:3])
    np.testing.assert_array_equal(image, IMAGE[0])
    np.testing.assert_array_equal(upon, IMAGE[0])
    np.testing.assert_array_equal(heat, explain.grad_cam(model, IMAGE, 1))
    assert np.unravel_index(heat.argmax(), heat.shape) < (4, 4)
    assert heat[:4, :4].sum() > 0.8 * heat.sum()
    assert figure.get_suptitle() == "Grad-CAM of pool: what speaks for 1"
    assert figure.axes[0].get_title(loc="left") == "answer: 1 0.56"
    assert figure.alt == (
        "Grad-CAM of pool: what speaks for 1; the most about the upper left part of the image. Answer: 1 0.56."
    )
    other = plot.grad_cam(model, Tensor(IMAGE[None]), 0, model.conv)
    assert other.get_suptitle() == "Grad-CAM of conv: what speaks for 0"
    np.testing.assert_array_equal(other.axes[1].images[0].get_array(), explain.grad_cam(model, IMAGE, 0, "conv"))


def test_gradients_and_occlusion_are_signed() -> None:
    model = Corner()
    for draw, expected in (
        (plot.input_gradient, explain.input_gradient(model, IMAGE, 0)[0]), (plot.occlusion, explain.occlusion(model, IMAGE, 0)),
        (partial(plot.occlusion, size=(2, 3), stride=(1, 2)), explain.occlusion(model, IMAGE, 0, (2, 3), (1, 2))),
    ):  # fmt: skip
        figure = draw(model, IMAGE, 0)
        drawn = figure.axes[1].images[0]
        np.testing.assert_array_equal(drawn.get_array(), expected)
        assert drawn.norm.vmin == -drawn.norm.vmax == -np.abs(expected).max()
        np.testing.assert_allclose(
            figure.axes[2].images[1].get_alpha(), 0.65 * np.abs(expected) / np.abs(expected).max()
        )
    assert plot.occlusion(model, IMAGE * 0).alt.startswith(
        "Occlusion: what is lost of the probability of 0 where it is covered; nothing anywhere."
    )


def test_the_gradient_is_added_over_the_colours() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(3 * 4 * 4, 2, bias=False))
    linear: Any = model[1]
    drawn = plot.input_gradient(model, np.ones((3, 4, 4), np.float32), 1).axes[1].images[0].get_array()
    np.testing.assert_allclose(drawn, linear.weight.data[1].reshape(3, 4, 4).sum(axis=0), rtol=1e-5)


def test_with_a_run_files_are_read_and_classes_have_names(tmp_path: Path) -> None:
    Image.fromarray(np.rint(IMAGE[0] * 255).astype(np.uint8)).save(tmp_path / "a.png")
    preprocess = data.Preprocess(1, 8, 8, 255, "crop", (0.5,), (0.5,))
    run = TrainedRun(Corner(), preprocess, ["else", "$corner$"], {}, Weights("last", tmp_path / "model", {}))
    figure = plot.input_gradient(run, tmp_path / "a.png")
    assert figure.axes[0].get_title(loc="left") == "answer: $corner$ 1.00"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), IMAGE[0], atol=1e-6)
    with pytest.raises(
        ArgumentError,
        match=r"^grad_cam: image 'a.png' is read as a run reads it; give what gpucnn.load gives as model, or floats ",
    ):
        plot.grad_cam(Corner(), "a.png")


@pytest.mark.parametrize("draw", [plot.grad_cam, plot.input_gradient, plot.occlusion, plot.explanation])
def test_numbers_that_are_none_are_told(draw: Any) -> None:
    image = IMAGE.copy()
    image[0, 3, :2] = np.nan, np.inf
    with pytest.raises(
        ArgumentError, match=r"^\w+: 2 of 64 numbers of the image are NaN or infinite; give an image of finite"
    ):
        draw(Corner(), image)
    model = Corner()
    model.output.weight.data[...] = np.nan
    with pytest.raises(
        ArgumentError,
        match=r"^\w+: 2 of 2 numbers of the scores of Corner are NaN or infinite; the weights are not finite",
    ):
        draw(model, IMAGE)


def test_wrong_arguments_are_told() -> None:
    for label in (2, -1, 1.5, "1"):
        with pytest.raises(
            ArgumentError, match=r"^grad_cam: label must be an int from 0 to 1, or None for the model's answer, got "
        ):
            plot.grad_cam(Corner(), IMAGE, label)  # type: ignore[arg-type]
    with pytest.raises(
        ShapeError, match=r"^occlusion: expected one image \(C, H, W\) or \(1, C, H, W\), got \(2, 1, 8, 8\)"
    ):
        plot.occlusion(Corner(), np.zeros((2, 1, 8, 8), np.float32))


def test_a_run_s_figures_take_what_its_predict_takes(tmp_path: Path) -> None:
    pixels = np.rint(IMAGE[0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    preprocess = data.Preprocess(1, 8, 8, 255, "crop", (0.5,), (0.5,))
    run = TrainedRun(Corner(), preprocess, ["else", "corner"], {"data": "digits"}, Weights("last", tmp_path, {}))
    expected = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    heat = explain.occlusion(run.model, expected[None], 0)
    for given in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), Image.fromarray(pixels), pixels, pixels > 0):
        for label in (0, "else"):
            figure = plot.occlusion(run, given, label)
            np.testing.assert_allclose(figure.axes[1].images[0].get_array(), heat, atol=1e-6)
            assert "of the probability of else" in figure.get_suptitle()
    for label in ("Corner", "7", 2):
        said = "label must be an int from 0 to 1, a class's name, or None for the model's answer, got "
        with pytest.raises(ArgumentError, match=f"^occlusion: {said}{label!r}(; did you mean 'corner'\\?)?$"):
            plot.occlusion(run, pixels, label)
    plot.occlusion(run, run.as_input(255 - pixels, invert=True))
    for draw in (plot.grad_cam, plot.input_gradient, plot.occlusion, plot.explanation, plot.feature_maps):
        said = f"{draw.__name__}: the image is dark on light, and digits is light on dark; give trained.as_input"
        with pytest.warns(UserWarning, match=f"^{said}\\(image, invert=True\\)$") as warned:
            draw(run, 255 - pixels)
        assert [one.filename for one in warned] == [__file__]


def test_what_has_labels_too_is_refused() -> None:
    dataset = data.ArrayDataset(IMAGE[None], [1])
    for given, told in (
        (dataset[0], r"expected images alone, got a pair \(image, label\); give its first: pair\[0\]"),
        (dataset, "expected images alone, got ArrayDataset, which has labels, too; give an image of it, dataset"),
        (data.DataLoader(dataset, 1), "expected images, got a DataLoader; give those of a batch: next"),
        ("a", "(image 'a' is read as a run reads it|images: expected numbers, got str)"),
    ):
        for call in (plot.grad_cam, plot.feature_maps, lambda model, image: explain.grad_cam(model, image, 1)):
            with pytest.raises((ArgumentError, DTypeError), match=f"^(grad_cam|feature_maps): {told}"):
                call(Corner(), given)
