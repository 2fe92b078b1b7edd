"""Names of classes: all that print, in any script, and none that does something to a terminal."""

# ruff: noqa: RUF001 (letters of other scripts that look like Latin ones)

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from gpucnn.cli.main import main
from gpucnn.data import ImageFolder
from gpucnn.errors import DataError
from gpucnn.text import is_printed, names_text, printed
from gpucnn.text_table import columns
from tests.data.image_files import save, write_two_classes

TAKEN = [
    "cat", "Frösche und Kröten", "кошка", "猫", "日本\u3000語", "고양이", "قطة", "חתול", "زن\u200cها", "क्\u200dष", "হ্যাঁ", "แมว", "ʻokina",
    "❤️", "👩\u200d🔬", "👨\u200d👩\u200d👧", "👍🏽", "🇩🇪", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "1️⃣", "a\u00a0b",
    "a\u2009b", "soft\u00adhyphen", "\u200eleft to right", "right to left\u200f", "\u061cعربي", "private \ue000", "new \U0001fae9", "a\ufeffb",
    "'quoted'", '"', "a,b", "a;b", "$HOME", "%s", "{}", "a\\b", "-flag", "Å", "K", "ﬁ",
]  # fmt: skip
REFUSED = [
    "d\nog", "d\tog", "\x1b[31mred", "bell\x07", "back\x08", "\x7fdelete", "next\x85line", "c1\x9b", "line\u2028break", "para\u2029graph",
    "over\u202eride", "em\u202abed", "iso\u2066late", "pop\u2069", os.fsdecode(b"caf\xe9"), "\udc80", "a\ufffeb", "\uffff", "\ufdd0", "\U0001fffe",
]  # fmt: skip
UNSEEN = [" ", "\u3000", "\u200b", "\u200d\u200c", "\u00a0", "\ufe0f"]


@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_names_that_print(name: str, tmp_path: Path) -> None:
    save(tmp_path / "other" / "1.png", np.zeros((4, 4)))
    save(tmp_path / name / "1.png", np.full((4, 4), 255))
    folder = ImageFolder(tmp_path, 4)
    assert set(folder.class_names) == {"other", name}
    assert folder[int(folder.class_names.index(name))][0].max() == 1


@pytest.mark.parametrize("name", [*REFUSED, *UNSEEN], ids=ascii)
def test_names_that_do_not(name: str, tmp_path: Path) -> None:
    save(tmp_path / "other" / "1.png", np.zeros((4, 4)))
    try:
        os.mkdir(tmp_path / name)
    except (OSError, UnicodeError):
        pytest.skip("no folder can have this name here")
    with pytest.raises(DataError) as caught:
        ImageFolder(tmp_path, 4)
    assert str(caught.value) == f"{tmp_path}: {name!a} cannot be printed as the name of a class; rename the folder"
    assert str(caught.value).isascii()


def test_no_character_that_moves_the_cursor_is_printed_and_nothing_that_is_none() -> None:
    """Of all characters of the first two planes, where they all are."""
    controls = {
        letter for letter in map(chr, range(0x20000)) if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    }
    turning = {letter for letter in map(chr, range(0x3000)) if unicodedata.bidirectional(letter) in
               ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")}  # fmt: skip
    assert len(turning) == 9
    # Unicode's standard, section 23.7: 66 codes are no characters, and none of them will ever be.
    none = {
        letter
        for letter in map(chr, range(0x20000))
        if ord(letter) & 0xFFFE == 0xFFFE or "\ufdd0" <= letter <= "\ufdef"
    }
    assert {letter for letter in map(chr, range(0x20000)) if not is_printed(letter)} == controls | turning | none
    assert not is_printed("\U0010ffff")
    assert is_printed("\U0010fffd"), "one for private use"


@pytest.mark.parametrize("name", [*TAKEN, *REFUSED])
def test_escapes(name: str) -> None:
    shown = printed(name)
    assert (shown == name) is (name in TAKEN)
    assert all(map(is_printed, shown))
    assert name in TAKEN or "\\" in shown


def test_lists_of_names_are_cut() -> None:
    assert names_text([]) == ""
    assert names_text(["a"]) == "a"
    assert names_text(["a", "b\x1b"], 2) == r"a, b\x1b"
    assert names_text(list("abcdefghijk")) == "a, b, c, d, e, f, g, h, i, j, k", (
        "one more takes no more room than its number"
    )
    assert names_text(list("abcdefghijkl")) == "a, b, c, d, e, f, g, h, i, j and 2 more"
    assert names_text(["a"] * 12_000, 1) == "a and 11,999 more"


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0), ("cat", 3), ("猫", 2), ("日本\u3000語", 8), ("한국", 4), (unicodedata.normalize("NFD", "한국"), 4), ("café", 4),
        (unicodedata.normalize("NFD", "café"), 4), ("❤️", 2), ("❤️❤️", 4), ("👩\u200d🔬", 2), ("👨\u200d👩\u200d👧", 2), ("❤️\u200d🔥", 2),
        ("👍🏽", 2), ("🇩🇪", 2), ("زن\u200cها", 4), ("ＡＢ", 4), ("ｱｲ", 2), ("a\u0301", 1), ("\u200ba", 1), ("🐱 cat", 6),
    ],
)  # fmt: skip
def test_columns_of_a_terminal(text: str, width: int) -> None:
    assert columns(text) == width


def test_one_name_in_two_ways_of_unicode(tmp_path: Path) -> None:
    """A folder copied from macOS has letters apart from their accents."""
    composed, apart = (unicodedata.normalize(form, "Frösche") for form in ("NFC", "NFD"))
    write_two_classes(tmp_path / "train", 1, 8)
    write_two_classes(tmp_path / "test", 1, 8)
    (tmp_path / "train" / "dark").rename(tmp_path / "train" / composed)
    (tmp_path / "test" / "dark").rename(tmp_path / "test" / apart)
    train = ImageFolder(tmp_path / "train", 8)
    test = ImageFolder(tmp_path / "test", 8, class_names=train.class_names)
    assert train.class_names == test.class_names == (composed, "light")
    assert [path.parent.name for path in test.paths] == [apart, "light"]
    (tmp_path / "train" / "light").rename(tmp_path / "train" / apart)
    if len(os.listdir(tmp_path / "train")) == 2:
        with pytest.raises(DataError, match="two class folders are called Fr.*sche, written in two ways of Unicode"):
            ImageFolder(tmp_path / "train", 8)


def test_names_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through a run, its files, and tables that stay aligned."""
    names = ["日本\u3000語", "👩\u200d🔬", "زن\u200cها", "Frösche"]
    for place, name in enumerate(names):
        for number in range(5):
            save(tmp_path / "images" / name / f"{number}.png", np.full((8, 8), 60 * place + number))
    run = tmp_path / "run"
    command = (
        f"train --data folder --data-dir {tmp_path}/images --model mlp --epochs 1 --device cpu --quiet --out {run}"
    )
    assert main(command.split()) == 0
    assert json.loads((run / "config.json").read_text())["class_names"] == sorted(names)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--device", "cpu", "--csv", str(tmp_path / "table.csv")]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)
    lines = text.split("\n\n")[1].splitlines()
    assert len(lines) >= 6
    assert len({columns(line) for line in [lines[0], *lines[2:]]}) == 1
    assert all(name in (tmp_path / "table.csv").read_text(encoding="utf-8") for name in names)
    assert main(["predict", str(run), str(tmp_path / "images"), "--device", "cpu"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len({columns(row) for row in rows}) == 1

    for name in names:
        (tmp_path / "images" / name).rename(tmp_path / "images" / unicodedata.normalize("NFD", name))
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
