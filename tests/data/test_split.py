"""Images in files are split by their names: they stay where they are when others come and go."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from gpucnn.data import ImageFolder, Subset, load, split
from gpucnn.data.image_folder import names_of, paths_of, whole_of
from gpucnn.errors import ArgumentError
from tests.data.image_files import write_two_classes


def empty_images(folder: Path, **classes: int) -> Path:
    """Files that nobody reads."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.png").touch()
    return folder


def parts(folder: Path, share: float = 0.8, seed: int = 0) -> tuple[set[str], set[str]]:
    first, second = (set(names_of(part) or ()) for part in split(ImageFolder(folder, 8), share, seed))
    return first, second


def test_nothing_moves_when_files_come_and_go(tmp_path: Path) -> None:
    folder = empty_images(tmp_path, cat=300, dog=400)
    train, test = parts(folder)
    assert (len(train) + len(test), len(train & test)) == (700, 0)
    draw = np.random.default_rng(0)
    for name in draw.choice(sorted(train | test), 40, replace=False):
        (folder / name).unlink()
    for _ in range(40):
        (folder / "cat" / f"{draw.integers(1 << 30)}.jpg").touch()
    now_train, now_test = parts(folder)
    assert not now_train & test
    assert not now_test & train
    assert now_train & train
    assert now_test & test


def test_the_folder_s_place_is_no_matter_and_the_seed_is(tmp_path: Path) -> None:
    first, second = (empty_images(tmp_path / name, cat=50, dog=50) for name in ("here", "elsewhere"))
    assert parts(first) == parts(second)
    assert parts(first, seed=1) != parts(first)
    assert parts(first, seed=1) == parts(second, seed=1)


@pytest.mark.parametrize("count", range(2, 40))
@pytest.mark.parametrize("share", [0.8, 0.2, 0.5, 0.95])
def test_each_class_has_about_its_share_and_one_at_least(share: float, count: int, tmp_path: Path) -> None:
    folder = empty_images(tmp_path, **{f"class{number}": count for number in range(6)})
    test = split(ImageFolder(folder, 8), share)[1]
    found = np.bincount(test.labels, minlength=6)
    slack = min(share, 1 - share) / 3 * count + 1
    assert (np.abs(found - (1 - share) * count) < slack + 1e-9).all()
    assert found.min() >= 1
    assert found.max() <= count - 1


def test_large_classes_have_nearly_their_share(tmp_path: Path) -> None:
    test = split(ImageFolder(empty_images(tmp_path, cat=2000, dog=1000), 8), 0.8)[1]
    assert np.bincount(test.labels) / [2000, 1000] == pytest.approx(0.2, abs=0.03)


def test_a_class_of_one_is_in_the_first_part(tmp_path: Path) -> None:
    train, test = parts(empty_images(tmp_path, cat=1, dog=10))
    assert "cat/0.png" in train
    assert test
    with pytest.raises(
        ArgumentError, match="split: a share of 0.8 of 2 images leaves one part empty; choose another share"
    ):
        parts(empty_images(tmp_path / "few", cat=1, dog=1))


def test_a_part_of_a_part_is_cut_anew(tmp_path: Path) -> None:
    train, _ = split(ImageFolder(empty_images(tmp_path, cat=400, dog=400), 8), 0.5)
    inner, rest = split(train, 0.5)
    assert isinstance(inner.parent, Subset)
    assert whole_of(inner) is train.parent
    assert len(rest) == pytest.approx(len(train) / 2, rel=0.15)
    outer = split(ImageFolder(tmp_path, 8), 0.75)[1]
    both = set(names_of(rest) or ()) & set(names_of(outer) or ())
    assert len(both) < len(rest), "its own draws decide"


def test_both_spellings_of_an_umlaut_are_one_name(tmp_path: Path) -> None:
    found = []
    for form in ("NFC", "NFD"):
        place = tmp_path / form
        for number in range(60):
            for name in ("frösche", "käfer"):
                path = place / unicodedata.normalize(form, f"{name}/grün {number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        found.append([{unicodedata.normalize("NFC", name) for name in part} for part in parts(place)])
    assert found[0] == found[1]


def test_a_folder_s_test_images_are_those_of_the_split(tmp_path: Path) -> None:
    splits = load("folder", write_two_classes(tmp_path), 16)
    assert (names_of(splits.train), names_of(splits.test)) == tuple(map(names_of, split(whole_of(splits.train), 0.8)))
    assert paths_of(splits.test) == tuple(tmp_path / name for name in names_of(splits.test) or ())
