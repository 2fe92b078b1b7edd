"""Tables that fit the terminal: some columns less, or several tables below one another."""

import pytest

from gpucnn.text_table import fitted_table, shortened_table, stacked_tables, text_table, wrapped

HEADER = ("name", "first", "second", "third")
ROWS = [("alpha", "1", "22", "333"), ("b", "4,444", "5", "6")]
WHOLE = text_table(HEADER, ROWS, "lrrr")
"""27 columns wide."""


def only(*places: int) -> list[str]:
    rows = [[row[place] for place in places] for row in ROWS]
    return text_table([HEADER[place] for place in places], rows, "l" + "r" * (len(places) - 1))


@pytest.mark.parametrize(
    ("width", "places"), [(200, (0, 1, 2, 3)), (27, (0, 1, 2, 3)), (26, (0, 1, 3)), (19, (0, 1, 3)), (18, (0, 3)), (3, (0, 3))]
)  # fmt: skip
def test_less_needed_columns_are_left_out(width: int, places: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert len(WHOLE[1]) == 27
    assert fitted_table(HEADER, ROWS, "lrrr", ("second", "first")) == only(*places)


@pytest.mark.parametrize(
    ("width", "tables"),
    [
        (27, [(0, 1, 2, 3)]),
        (26, [(0, 1, 2), (0, 3)]),
        (20, [(0, 1, 2), (0, 3)]),
        (19, [(0, 1), (0, 2), (0, 3)]),
        (1, [(0, 1), (0, 2), (0, 3)]),
    ],
)
def test_all_columns_stand_below_one_another(
    width: int, tables: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    expected = [["", *only(*places)] for places in tables]
    assert ["", *stacked_tables(HEADER, ROWS, "lrrr")] == [line for table in expected for line in table]


def test_a_table_of_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2")
    assert stacked_tables(["name"], [["alpha"]], "l") == ["name", "-----", "alpha"]


def test_texts_are_cut_where_the_table_would_be_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("0123456789" * 5, "1", "2"), ("short", "3", "4")]
    header, whole = ("path", "one", "two"), text_table(("path", "one", "two"), rows, "lrr")
    for width, most in ((60, 50), (59, 49), (40, 30), (34, 24), (10, 24)):
        monkeypatch.setenv("COLUMNS", str(width))
        found = shortened_table(header, rows, "lrr", 0)
        assert len(found[1]) == most + 10
        assert (found == whole) == (most == 50)
        if most < 50:
            path = found[2].split()[0]
            assert (len(path), path[:10], path[-8:]) == (most, "0123456789", "23456789")
            assert found[3].split() == ["short", "3", "4"]


def test_wrapped_text_has_all_its_words_and_no_line_too_wide() -> None:
    text = "one two-three four /a/path/that/is/longer/than/a/line five six seven"
    lines = wrapped(text, 16)
    assert " ".join(line.strip() for line in lines) == text
    assert max(len(line) for line in lines if "/" not in line) <= 16
    assert [line.startswith("  ") for line in lines] == [False] + [True] * (len(lines) - 1)
