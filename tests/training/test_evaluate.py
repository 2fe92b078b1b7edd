"""One pass over a data set tells scores, confusions and the worst images."""

import numpy as np
import pytest

from gpucnn import Tensor, data, layers
from gpucnn.errors import ArgumentError
from gpucnn.training import evaluate


class Fixed(layers.Layer):
    """Logits that are the image's first row."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0]


def loader_of(logits: np.ndarray, labels: list[int], batch_size: int = 3, shuffle: bool = False) -> data.DataLoader:
    images = np.asarray(logits, np.float32)[:, None, None]
    return data.DataLoader(data.ArrayDataset(images, np.array(labels)), batch_size, shuffle)


LOGITS = np.log(
    [
        [0.70, 0.10, 0.05, 0.05, 0.05, 0.05],
        [0.02, 0.90, 0.02, 0.02, 0.02, 0.02],
        [0.05, 0.05, 0.30, 0.40, 0.10, 0.10],
        [0.60, 0.10, 0.10, 0.10, 0.09, 0.01],
    ]
)
LABELS = [0, 0, 2, 5]


def test_everything_comes_from_one_pass() -> None:
    found = evaluate(Fixed(), loader_of(LOGITS, LABELS), worst=3)
    expected = -np.log([0.7, 0.02, 0.3, 0.01])
    assert found.loss == pytest.approx(expected.mean(), rel=1e-6)
    assert (found.correct, found.total, found.accuracy) == (1, 4, 0.25)
    assert (found.top_5_correct, found.top_5_accuracy) == (3, 0.75)
    assert found.confusion.class_names == ("0", "1", "2", "3", "4", "5")
    assert found.confusion.accuracy == 0.25
    assert found.confusion.counts[5, 0] == 1
    assert [(one.index, one.label, one.answer) for one in found.worst] == [(3, 5, 0), (1, 0, 1), (2, 2, 3)]
    assert [one.probability for one in found.worst] == pytest.approx([0.6, 0.9, 0.4], rel=1e-6)
    assert [one.loss for one in found.worst] == pytest.approx(expected[[3, 1, 2]], rel=1e-6)
    assert evaluate(Fixed(), loader_of(LOGITS, LABELS)).worst == ()


def test_the_worst_of_a_shuffled_loader_are_told_by_their_place_in_the_data_set() -> None:
    found = evaluate(Fixed(), loader_of(LOGITS, LABELS, shuffle=True), worst=99)
    assert [one.index for one in found.worst] == [3, 1, 2, 0]


def test_what_is_not_a_number_is_worst() -> None:
    logits = LOGITS.copy()
    logits[0] = np.nan
    found = evaluate(Fixed(), loader_of(logits, LABELS), worst=1)
    assert np.isnan(found.loss)
    assert found.worst[0].index == 0
    assert found.top_5_correct == 2


def test_class_names_are_as_many_as_the_classes() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert evaluate(Fixed(), loader_of(LOGITS, LABELS), names).confusion.class_names == tuple(names)
    with pytest.raises(ArgumentError, match="evaluate: 2 class_names, but the model has 6 outputs"):
        evaluate(Fixed(), loader_of(LOGITS, LABELS), ["a", "b"])


def test_class_names_are_those_of_the_data_set_where_they_are_as_many() -> None:
    loader, names = loader_of(LOGITS, LABELS), ("a", "b", "c", "d", "e", "f")
    loader.dataset.class_names = names  # type: ignore[attr-defined]
    assert evaluate(Fixed(), loader).confusion.class_names == names
    assert evaluate(Fixed(), loader, list("uvwxyz")).confusion.class_names == tuple("uvwxyz")
    part = data.DataLoader(data.Subset(loader.dataset, np.arange(2)), 2)
    assert evaluate(Fixed(), part).confusion.class_names == names
    loader.dataset.class_names = names[:3]  # type: ignore[attr-defined]
    assert evaluate(Fixed(), loader).confusion.class_names == tuple("012345")
