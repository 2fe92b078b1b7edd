"""The confusion matrix and what follows from it, against literal numbers and a loop that counts."""

import csv
import io
from collections import Counter

import numpy as np
import pytest

from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.text_table import columns
from gpucnn.training import ConfusionMatrix
from tests.backends import Backend

PETS = ("cat", "dog", "owl", "yak")
LABELS = [0, 0, 0, 0, 1, 1, 1, 2]
ANSWERS = [0, 0, 1, 2, 1, 1, 0, 1]
"""Owls are never recognised; yaks are neither shown nor answered."""


def matrix_of(labels: list[int], answers: list[int], names: tuple[str, ...] = PETS) -> ConfusionMatrix:
    matrix = ConfusionMatrix(names)
    matrix.update(np.array(answers, int), np.array(labels, int))
    return matrix


def test_the_numbers_of_a_small_matrix() -> None:
    matrix = matrix_of(LABELS, ANSWERS)
    np.testing.assert_array_equal(matrix.counts, [[2, 1, 1, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert matrix.counts.dtype == np.int64
    np.testing.assert_array_equal(matrix.support, [4, 3, 1, 0])
    assert matrix.accuracy == 0.5
    scores = matrix.scores()
    np.testing.assert_allclose(scores.precision, [2 / 3, 1 / 2, 0, 0], rtol=1e-15)
    np.testing.assert_allclose(scores.recall, [1 / 2, 2 / 3, 0, 0], rtol=1e-15)
    np.testing.assert_allclose(scores.f1, [4 / 7, 4 / 7, 0, 0], rtol=1e-15)
    macro = matrix.macro()  # over three classes: there is no yak
    assert macro.precision == pytest.approx(7 / 18)
    assert macro.recall == pytest.approx(7 / 18)
    assert macro.f1 == pytest.approx(8 / 21)


def test_a_class_that_is_answered_but_never_shown_counts_in_the_averages() -> None:
    macro = matrix_of([0, 0], [0, 3]).macro()
    assert (macro.precision, macro.recall) == (0.5, 0.25)


def test_an_empty_matrix_divides_nothing() -> None:
    matrix = ConfusionMatrix(PETS)
    assert np.isnan(matrix.accuracy)
    assert np.isnan([matrix.macro().precision, matrix.macro().recall, matrix.macro().f1]).all()
    assert not matrix.scores().f1.any()
    matrix.update(np.zeros(0, int), np.zeros(0, int))
    assert not matrix.counts.any()
    assert "nan" in matrix.class_lines()[-1]


def test_batches_add_up_as_a_loop_counts(backend: Backend, rng: np.random.Generator) -> None:
    classes = 17
    expected = np.zeros((classes, classes), int)
    matrix = ConfusionMatrix([f"class {label}" for label in range(classes)])
    for size in (1, 640, 0, 33):
        labels = rng.integers(0, classes, size).astype(np.uint8)  # 17 * 17 is more than a byte holds
        answers = rng.integers(0, classes, size)
        for label, answer in zip(labels, answers, strict=True):
            expected[label][answer] += 1
        matrix.update(backend.array(answers), backend.array(labels))
    np.testing.assert_array_equal(matrix.counts, expected)
    np.testing.assert_array_equal(matrix.counts, expected)  # asking changes nothing
    assert matrix.accuracy == sum(expected[place][place] for place in range(classes)) / 674
    for place in range(classes):
        right = expected[place][place]
        precision, recall = right / expected[:, place].sum(), right / expected[place].sum()
        scores = matrix.scores()
        assert scores.precision[place] == pytest.approx(precision)
        assert scores.recall[place] == pytest.approx(recall)
        assert scores.f1[place] == pytest.approx(2 * precision * recall / (precision + recall) if right else 0)


def test_counts_are_the_caller_s_own() -> None:
    matrix = matrix_of(LABELS, ANSWERS)
    matrix.counts[:] = 0
    assert matrix.counts.sum() == 8


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="class_names must have at least one class, got none"):
        ConfusionMatrix([])
    with pytest.raises(ShapeError, match=r"expected answers \(N,\) and labels \(N,\), got \(3,\) and \(2,\)"):
        ConfusionMatrix(PETS).update(np.zeros(3, int), np.zeros(2, int))
    with pytest.raises(ArgumentError, match="ConfusionMatrix: answer 4, expected 0 to 3, as class_names has"):
        _ = matrix_of([0, 1], [0, 4]).counts
    with pytest.raises(ArgumentError, match="ConfusionMatrix: label -1, expected 0 to 3"):
        _ = matrix_of([-1, 1], [0, 3]).counts


def test_the_text_of_a_small_matrix() -> None:
    matrix = matrix_of(LABELS, ANSWERS)
    assert matrix.matrix_lines() == [
        "label \\ answer  cat  dog  owl  yak",
        "----------------------------------",
        "cat               2    1    1    .",
        "dog               1    2    .    .",
        "owl               .    1    .    .",
        "yak               .    .    .    .",
    ]
    assert matrix.class_lines() == [
        "class          precision  recall      F1  images",
        "------------------------------------------------",
        "cat               0.6667  0.5000  0.5714       4",
        "dog               0.5000  0.6667  0.5714       3",
        "owl               0.0000  0.0000  0.0000       1",
        "yak               0.0000  0.0000  0.0000       0",
        "------------------------------------------------",
        "macro average     0.3889  0.3889  0.3810       8",
    ]


def test_a_matrix_that_is_too_wide_becomes_a_list_of_confusions() -> None:
    lines = matrix_of(LABELS, ANSWERS).matrix_lines(width=33)
    assert lines == [
        "label  answer  times  of",
        "------------------------",
        "cat    dog         1   4",
        "cat    owl         1   4",
        "dog    cat         1   3",
        "owl    dog         1   1",
    ]
    assert matrix_of([0, 1], [0, 1]).matrix_lines(width=10) == ["no confusions"]


def test_the_most_frequent_confusions(rng: np.random.Generator) -> None:
    labels, answers = rng.integers(0, 5, (2, 200))
    matrix = ConfusionMatrix(list("abcde"))
    matrix.update(answers, labels)
    pairs = Counter(zip(labels.tolist(), answers.tolist(), strict=True))
    expected = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: (-pairs[pair], pair))
    assert matrix.confused(7) == expected[:7]
    assert matrix.confused(1000) == expected
    assert matrix.confused(0) == []
    right = ConfusionMatrix(["a", "b"])
    right.update(np.array([0, 1]), np.array([0, 1]))
    assert right.confused(3) == []
    with pytest.raises(ArgumentError, match=r"^ConfusionMatrix.confused: count must be an int >= 0, got -1$"):
        matrix.confused(-1)


def test_many_classes_are_cut_to_the_worst() -> None:
    names = tuple(f"number {label}" for label in range(100))
    labels = [label for label in range(100) for _ in range(4)]
    answers = [(label + (turn < label % 4)) % 100 for label in range(100) for turn in range(4)]
    matrix = matrix_of(labels, answers, names)
    lines = matrix.matrix_lines()
    assert len(lines) == 2 + 20 + 1
    assert lines[2].split() == ["number", "3", "number", "4", "3", "4"]
    assert lines[-1] == "(55 more pairs, none more often)"
    lines = matrix.class_lines()
    assert len(lines) == 2 + 20 + 3
    assert lines[-3] == "(80 more classes with an F1 no lower)"
    assert len(matrix.class_lines(all_classes=True)) == 2 + 100 + 2
    assert max(map(len, [*matrix.matrix_lines(), *lines])) <= 80


def test_names_are_made_fit_to_print() -> None:
    names = ("a" * 300, "猫" * 40, "line\nfeed\x1b[2J")
    lines = [*matrix_of([0, 1, 2], [0, 1, 2], names).matrix_lines(300)]
    assert lines[2].startswith("aaaaaaaaa...aaaaaaaa ")
    assert lines[4].startswith("line\\nfeed\\x1b[2J ")
    assert len({columns(line) for line in lines}) == 1


def test_csv_is_read_back() -> None:
    names = ('a "quoted" name', "with, comma", "owl", "line\nfeed")
    rows = list(csv.reader(io.StringIO(matrix_of(LABELS, ANSWERS, names).csv())))
    assert rows[0] == ["label \\ answer", *names]
    assert [row[0] for row in rows[1:]] == list(names)
    assert [list(map(int, row[1:])) for row in rows[1:]] == matrix_of(LABELS, ANSWERS).counts.tolist()
