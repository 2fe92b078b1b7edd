"""The figure's numbers are those of the result."""

import re

import numpy as np
import pytest

from gpucnn import plot
from gpucnn.errors import ArgumentError
from gpucnn.training import ConfusionMatrix, evaluate
from tests.training.test_evaluate import LABELS, LOGITS, Fixed, loader_of

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def matrix_of(counts: np.ndarray, prefix: str = "class ") -> ConfusionMatrix:
    matrix = ConfusionMatrix([f"{prefix}{label}" for label in range(len(counts))])
    labels, answers = (np.repeat(places, counts.ravel()) for places in np.indices(counts.shape).reshape(2, -1))
    matrix.update(answers, labels)
    return matrix


def test_cells_have_the_counts_and_the_shares_as_colour() -> None:
    counts = np.array([[5, 0, 3], [0, 12_345, 1], [0, 0, 0]])
    figure = plot.confusion(matrix_of(counts))
    axes = figure.axes[0]
    found = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert found == {(0, 0): "5", (0, 2): "3", (1, 1): "12,345", (1, 2): "1"}
    shares = [[5 / 8, 0, 3 / 8], [0, 12_345 / 12_346, 1 / 12_346], [0, 0, 0]]
    np.testing.assert_allclose(axes.images[0].get_array(), shares, rtol=1e-12)
    assert axes.images[0].norm.vmin == 0
    assert axes.images[0].norm.vmax == 1
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [text.get_text() for text in labels] == ["class 0", "class 1", "class 2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "label")
    assert axes.get_title(loc="left") == "accuracy 0.9997 (12,350 of 12,354)"
    assert figure.alt == (
        "Confusion matrix of 3 classes, 12,354 images, 12,350 right. Most often confused: class 0 answered with class 2, 3 of 8; "
        "class 1 answered with class 2, 1 of 12,346."
    )


def test_it_takes_an_evaluation_and_one_without_images() -> None:
    figure = plot.confusion(evaluate(Fixed(), loader_of(LOGITS, LABELS)))
    assert figure.axes[0].get_title(loc="left") == "accuracy 0.2500 (1 of 4)"
    assert plot.confusion(ConfusionMatrix(["a"])).axes[0].get_title(loc="left") == "no images"
    with pytest.raises(
        ArgumentError, match=r"^confusion: result must be what evaluate gives, or a ConfusionMatrix, got 3$"
    ):
        plot.confusion(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [31, 100, 1000])
def test_of_many_classes_the_worst_are_listed(size: int) -> None:
    counts = np.diag(np.full(size, 2))
    counts[7, 9], counts[size - 1, 0] = 5, 3
    figure = plot.confusion(matrix_of(counts, "a class with a very long name "))
    matrix, listed, _ = figure.axes
    assert matrix.images[0].get_array().shape == (size, size)
    assert len(matrix.texts) == 0
    assert len(matrix.get_yticklabels()) == size if size <= 100 else len(matrix.get_yticks()) < 20
    names = [text.get_text() for text in matrix.get_yticklabels()]
    assert all(len(name) <= 16 for name in names)
    (text,) = listed.texts
    worst, second = text.get_text().splitlines()
    assert re.fullmatch(r"a class\.\.\..*7 → a class\.\.\..*9: +5 of 7", worst)
    assert re.fullmatch(rf"a class\.\.\..*{size - 1} → a class\.\.\..* 0: +3 of 5", second)
    assert figure.get_figwidth() < 20
