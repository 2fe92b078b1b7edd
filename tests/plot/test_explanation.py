"""The picture of an answer: its panels have the image, the probabilities, what `explain` found, the weights and the activations."""

from typing import Any

import numpy as np
import pytest

from gpucnn import data, explain, layers, models, plot
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.plot.seeing import IMAGE, Corner

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def panel(figure: Any, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def test_its_panels_are_what_was_found() -> None:
    preprocess = data.Preprocess(1, 8, 8, 255, "crop", (0.0,), (0.5,))
    run = TrainedRun(Corner(), preprocess, ["$else$", "<b>corner</b>"], {}, Weights("last", None, {}))  # type: ignore[arg-type]
    model = run.model
    seen = IMAGE / np.float32(0.5)
    figure = plot.explanation(run, seen)
    logits = np.asarray(model(seen[None]).data)[0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    best = int(probabilities.argmax())
    name = run.class_names[best]
    assert titles(figure) == [
        "as the model sees it", "Grad-CAM of pool", "top classes", "conv: 2 filters of 1x1x1", "conv: 2 maps of 8x8",
        "pool: 2 maps of 4x4",
    ]  # fmt: skip
    np.testing.assert_allclose(panel(figure, "as the model sees it").images[0].get_array(), IMAGE[0], atol=1e-7)
    grey, heat = panel(figure, "Grad-CAM of pool").images
    np.testing.assert_allclose(grey.get_array(), IMAGE[0], atol=1e-7)
    np.testing.assert_array_equal(heat.get_array(), explain.grad_cam(model, seen, best))
    bars = panel(figure, "top classes")
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], np.sort(probabilities)[::-1], rtol=1e-5)
    assert [label.get_text() for label in bars.get_yticklabels()] == [name, run.class_names[1 - best]]
    assert bars.patches[0].get_y() > bars.patches[1].get_y()
    filters = panel(figure, "conv: 2 filters of 1x1x1").images[0].get_array()
    np.testing.assert_array_equal(filters[0, [0, 2]], [1, -1])
    assert np.isnan(filters[0, 3:].filled(np.nan)).all()
    for path, maps in explain.feature_maps(model, seen).items():
        drawn = panel(figure, f"{path}: 2 maps of {'x'.join(map(str, maps.shape[1:]))}").images[0].get_array()
        size = maps.shape[2]
        np.testing.assert_array_equal(drawn[:, :size], maps[0])
        np.testing.assert_array_equal(drawn[:, size + 1 : 2 * size + 1], maps[1])
    assert figure.get_suptitle() == f"Corner: {name}, with {probabilities[best]:.1%}"
    assert figure.alt.startswith(f"Top classes: {name} {probabilities[best]:.2f}, {run.class_names[1 - best]} ")
    assert figure.alt.endswith(
        " the upper left part of the image. Feature maps: conv, 2 maps of 8x8; pool, 2 maps of 4x4."
    )


def test_one_layer_is_shown_large_with_its_own_evidence() -> None:
    model = layers.Sequential(
        layers.Conv2d(3, 30, 1), layers.ReLU(), layers.Conv2d(30, 20, 3), layers.Flatten(), layers.Linear(80, 8)
    )
    image = np.random.default_rng(0).random((3, 4, 4))
    figure = plot.explanation(model, image, "2")
    assert titles(figure) == [
        "as the model sees it", "Grad-CAM of 2", "top classes", "0: 30 filters of 3x1x1, the first 24", "2: 20 maps of 2x2",
    ]  # fmt: skip
    found = explain.feature_maps(model, image)["2"]
    drawn = panel(figure, "2: 20 maps of 2x2").images[0].get_array()
    for number in range(20):
        top, left = 3 * (number // 8), 3 * (number % 8)
        np.testing.assert_array_equal(drawn[top : top + 2, left : left + 2], found[number])
    label = int(np.asarray(model.eval()(image[None]).data).argmax())
    heat = panel(figure, "Grad-CAM of 2").images[1].get_array()
    np.testing.assert_array_equal(heat, explain.grad_cam(model, image, label, "2"))
    assert len(panel(figure, "top classes").patches) == 5


def test_a_model_without_maps_is_explained_by_its_gradient() -> None:
    model, image = models.MLP(image_size=4), np.random.default_rng(0).random((1, 4, 4))
    figure = plot.explanation(model, image)
    assert titles(figure) == ["as the model sees it", "gradient by the image", "top classes"]
    label = int(np.asarray(model(image[None]).data).argmax())
    heat = panel(figure, "gradient by the image").images[1]
    np.testing.assert_array_equal(heat.get_array(), explain.input_gradient(model, image, label)[0])
    assert heat.norm.vmin == -heat.norm.vmax


def test_what_will_not_do_is_refused() -> None:
    with pytest.raises(ArgumentError, match="explanation: layer flatten gives no maps by itself; there is conv, pool"):
        plot.explanation(Corner(), IMAGE, "flatten")
    with pytest.raises(ArgumentError, match=r"explanation: Corner has no layer 'cnov'; did you mean conv\?"):
        plot.explanation(Corner(), IMAGE, "cnov")
    block = layers.Sequential(layers.Sequential(layers.Conv2d(1, 2, 1), layers.Flatten()), layers.Linear(128, 2))
    with pytest.raises(
        ArgumentError, match=r"explanation: layer 0 gives no maps by itself; the last within it is 0\.0$"
    ):
        plot.explanation(block, IMAGE, "0")
    message = r"explanation: expected a model that gives logits \(N, classes\), this one gives \(1, 1, 8, 8\)"
    with pytest.raises(ShapeError, match=message):
        plot.explanation(layers.Sequential(layers.ReLU()), IMAGE)
