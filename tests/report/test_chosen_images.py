"""Which images a report shows: by hand for few, and by counting for many."""

import numpy as np
import pytest

from gpucnn.report.chosen_images import FEWEST, MOST, RIGHT_PER_CLASS, WORST, choose_images
from gpucnn.report.tables import MOST_CLASSES, class_rows, confusions
from gpucnn.training import ConfusionMatrix
from tests.report.made_samples import made_samples


def test_the_worst_come_first_then_the_least_certain_then_the_other_mistakes() -> None:
    label = np.array([0] * 10 + [1] * 40)
    answer = np.array([1] * 10 + [0] * 30 + [1] * 10)
    loss = np.where(label != answer, 5.0, 0.5) + np.arange(50) / 100
    probability = np.linspace(0.9, 0.5, 50)
    chosen = choose_images(made_samples(label, answer, probability, loss))
    assert chosen.worst.tolist() == list(range(39, 39 - WORST, -1))
    assert chosen.unsure.tolist() == list(range(49, 37, -1))
    assert chosen.shown[:WORST].tolist() == chosen.worst.tolist()
    assert chosen.shown[WORST : WORST + 10].tolist() == list(range(49, 39, -1)), "those that are not there yet"
    rest = chosen.shown[WORST + 10 :].tolist()
    assert rest == [*range(9, -1, -1), *range(15, 9, -1)], "of the confusion that was not shown yet, then of the other"


def test_mistakes_come_before_right_answers_whatever_their_loss() -> None:
    label, answer = np.zeros(20, int), np.array([0] * 12 + [1] * 8)
    loss = np.arange(20)[::-1].astype(float)
    chosen = choose_images(made_samples(label, answer, np.full(20, 0.5), loss))
    assert chosen.worst.tolist() == list(range(12, 20)), "no right one, though all of them have a higher loss"
    answer[14:] = 0
    chosen = choose_images(made_samples(label, answer, np.full(20, 0.5), loss))
    assert chosen.worst.tolist() == [12, 13, 0, 1, 2, 3], "few mistakes are filled up to so many"


def test_of_right_answers_there_are_some_of_each_class() -> None:
    label = np.repeat([0, 1, 2], 100)
    chosen = choose_images(made_samples(label, label, np.full(300, 0.9), np.full(300, 0.1)))
    assert len(chosen.worst) == FEWEST
    counts = np.bincount(label[chosen.shown])
    assert counts.min() >= RIGHT_PER_CLASS
    assert len(chosen.shown) == len(set(chosen.shown.tolist())) <= 3 * RIGHT_PER_CLASS + 12


def test_of_very_many_there_is_a_limit() -> None:
    draw = np.random.default_rng(0)
    label, answer = draw.integers(0, 100, (2, 20_000))
    chosen = choose_images(made_samples(label, answer, draw.random(20_000), draw.random(20_000)))
    assert len(chosen.shown) == MOST == len(set(chosen.shown.tolist()))
    cells = np.bincount(label[chosen.shown] * 100 + answer[chosen.shown])
    assert cells.max() <= 3, "one of each in turn"


def test_losses_without_a_number_are_the_highest() -> None:
    loss = np.array([1.0, np.nan, 3.0, 2.0])
    probability = np.array([0.2, np.nan, 0.9, 0.1])
    chosen = choose_images(made_samples(np.zeros(4, int), np.ones(4, int), probability, loss))
    assert chosen.worst.tolist() == [1, 2, 3, 0]
    assert chosen.unsure.tolist() == [3, 0, 2, 1]
    nothing = np.full(4, np.nan)
    assert sorted(choose_images(made_samples(np.zeros(4, int), np.zeros(4, int), nothing, nothing)).shown) == [
        0,
        1,
        2,
        3,
    ]


def matrix(counts: np.ndarray) -> ConfusionMatrix:
    found = ConfusionMatrix([f"class {number}" for number in range(len(counts))])
    labels, answers = np.nonzero(counts)
    times = counts[labels, answers]
    found.update(np.repeat(answers, times), np.repeat(labels, times))
    return found


def test_many_classes_have_their_largest_confusions() -> None:
    counts = np.diag(np.full(1000, 5))
    counts[7, 9], counts[9, 7], counts[999, 0] = 4, 2, 3
    found = confusions(matrix(counts))
    assert found.rows == ()
    assert [(pair.label, pair.answer, pair.number, pair.cell) for pair in found.pairs] == [
        ("class 7", "class 9", 4, "7,9"),
        ("class 999", "class 0", 3, "999,0"),
        ("class 9", "class 7", 2, "9,7"),
    ]
    assert found.pairs[0].share == 4 / 9
    assert len(class_rows(matrix(counts))) == 1000


@pytest.mark.parametrize("classes", [1, 2, 20, 21, MOST_CLASSES, MOST_CLASSES + 1])
def test_what_is_shown_of_so_many_classes(classes: int) -> None:
    counts = np.diag(np.full(classes, 5))
    counts[0, -1] += 1
    found = confusions(matrix(counts))
    assert len(found.rows) == (classes if classes <= MOST_CLASSES else 0)
    assert len(found.pairs) == (0 if classes <= 20 else 1)
    assert found.is_wrong is (classes > 1)


def test_colours_are_by_share() -> None:
    found = confusions(matrix(np.array([[75, 25], [0, 10]])))
    first, second = found.rows
    assert [(cell.number, cell.level, cell.is_right) for cell in first.cells] == [(75, 75, True), (25, 50, False)]
    assert [(cell.number, cell.level) for cell in second.cells] == [(0, 0), (10, 100)]
    assert first.cells[1].title == "class 0 answered class 1: 25 of 100, 25.0 %"
