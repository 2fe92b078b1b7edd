"""Folders in parts to train on, to measure every epoch on and to test with; and what is said of what is not read."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from gpucnn import data
from gpucnn.cli.main import main
from gpucnn.data import ImageFolder, image_kind
from gpucnn.data.folder_parts import part_of, parts_among
from gpucnn.data.image_folder import paths_of
from gpucnn.data.image_listing import left_out_text
from gpucnn.errors import ConfigError, DataError
from gpucnn.training import RunConfig, RunFolder, prepare
from tests.data.image_files import pillow_heif, save, write_two_classes

SUFFIXES = (
    "png",
    "jpg",
    "jpeg",
    "jfif",
    "jpe",
    "bmp",
    "gif",
    "webp",
    "tif",
    "tiff",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "avif",
)
FORMATS = {"jfif": "JPEG", "jpe": "JPEG", "pnm": "PPM"}
SMALL: dict[str, Any] = {
    "data": "folder",
    "model": "mlp",
    "image_size": 8,
    "epochs": 1,
    "batch_size": 2,
    "device": "cpu",
}


def write_parts(folder: Path, *parts: str, count: int = 2) -> Path:
    for part in parts:
        write_two_classes(folder / part, count, 8)
    return folder


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix[1:].lower()
    Image.new("1" if suffix == "pbm" else "L", (4, 4), 1).save(path, FORMATS.get(suffix))


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_all_suffixes_are_read_in_training_and_in_prediction(change: Callable[[str], str], tmp_path: Path) -> None:
    there = [suffix for suffix in SUFFIXES if suffix not in ("avif", "webp") or suffix in features.get_supported()]
    with pillow_heif():
        assert {f".{suffix}" for suffix in there} | {".npy"} == set(image_kind.suffixes())
    write_two_classes(tmp_path, 1, 4)
    for suffix in there:
        write_image(tmp_path / "dark" / f"{suffix}.{suffix}")
        (tmp_path / "dark" / f"{suffix}.{suffix}").rename(tmp_path / "dark" / f"{suffix}.{change(suffix)}")
    np.save(tmp_path / "dark" / "array.npy", np.zeros((4, 4), np.uint8))
    folder = ImageFolder(tmp_path, 4)
    assert len(folder[:][0]) == len(there) + 3
    assert not folder.left_out


def test_folders_within_a_class(tmp_path: Path) -> None:
    for name in (
        "b/2.png",
        "a/9/1.png",
        "b/1.png",
        "a/10/deep/er/1.png",
        "a/0.png",
        "a.png/x.png",
        ".old/1.png",
        "Z/.cache/1.png",
    ):
        save(tmp_path / "cat" / name, np.zeros((4, 4)))
    save(tmp_path / "dog" / "1.png", np.full((4, 4), 255))
    (tmp_path / "dog" / "empty" / "folder").mkdir(parents=True)
    folder = ImageFolder(tmp_path, 4)
    found = [path.relative_to(tmp_path / "cat").as_posix() for path in folder.paths[:-1]]
    assert found == ["a/0.png", "a/10/deep/er/1.png", "a/9/1.png", "a.png/x.png", "b/1.png", "b/2.png"]
    assert folder.labels.tolist() == [0] * 6 + [1]
    assert folder.left_out == {"hidden": 2}


def test_links_within_a_class(tmp_path: Path) -> None:
    """A folder is read once, by whatever ways it is reached, and a way round ends."""
    data_dir, elsewhere = write_two_classes(tmp_path / "data", 2, 8), write_two_classes(tmp_path / "elsewhere", 3, 8)
    (data_dir / "dark" / "more").symlink_to(elsewhere / "dark")
    (data_dir / "dark" / "one.png").symlink_to(elsewhere / "light" / "000.png")
    (data_dir / "dark" / "again").symlink_to(elsewhere / "dark")
    (data_dir / "dark" / "round").symlink_to(data_dir / "dark")
    (data_dir / "light" / "up").symlink_to(data_dir)
    (data_dir / "grey").symlink_to(elsewhere / "light")
    folder = ImageFolder(data_dir, 8)
    assert (folder.class_names, np.bincount(folder.labels).tolist()) == (("dark", "grey", "light"), [6, 3, 2])
    assert left_out_text(folder.left_out) == "left out: 3 links to folders that are read anyway"
    (data_dir / "dark" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        DataError, match=r"dark/gone.png: a link that leads to no file; put it back whole, or remove it"
    ):
        ImageFolder(data_dir, 8)


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 2, 8)
    for name in ("dark/1.heic", "light/2.HEIC", "light/3.heic", "dark/notes.txt", "dark/README", "dark/deep/.DS_Store",
                 ".DS_Store", "Thumbs.db", "dark/Thumbs.db", "labels.csv", "beside.png", "dark/.hidden.png", "__MACOSX/dark/1.png",
                 "dark/__MACOSX/2.png", "light/@eaDir/000.png/small.jpg", "dark/._000.png", "dark/a.b c!", "lost+found/x.png",
                 "dark/raw.CR2", "dark/x.with space"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pillow_heif():
        folder, notes = ImageFolder(tmp_path, 8), data.load("folder", tmp_path, 8).notes
    assert len(folder[:][0]) == 4
    expected = (
        "left out: 3 .heic (pip install pillow-heif), 2 .DS_Store, 2 Thumbs.db, 2 __MACOSX, 2 hidden, 1 .b c!, "
        "1 .cr2 (export them as JPEG), 1 .csv, 1 .txt, 1 .with space, 1 @eaDir, 1 image beside the class folders, 2 of other kinds"
    )
    assert left_out_text(folder.left_out) == expected
    assert notes[0] == expected
    assert left_out_text({}) == ""


def test_commands_tell_what_they_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, run = write_two_classes(tmp_path / "images", 5, 8), str(tmp_path / "run")
    (images / "dark" / "drawing.svg").write_bytes(b"")
    (images / "dark" / "deep").mkdir()
    (images / "dark" / "deep" / "notes.txt").write_bytes(b"")
    said = "left out: 1 .svg (save them as PNG), 1 .txt"
    settings = (
        f"--data folder --data-dir {images} --model mlp --epochs 1 --batch-size 4 --device cpu --quiet --out {run}"
    )
    for command in (
        ["train", *settings.split()],
        ["evaluate", run, "--device", "cpu"],
        ["predict", run, str(images), "--device", "cpu"],
    ):
        assert main(command) == 0
        assert f"gpucnn {command[0]}: {said}\n" in capsys.readouterr().err


class FakeHeif:
    """Of pillow-heif what is used: it makes a format known to Pillow."""

    def register_heif_opener(self) -> None:
        Image.init()
        Image.register_open("FAKE", self.open, lambda prefix: prefix[4:12] == b"ftypheic")  # type: ignore[arg-type]

    def open(self, file: object, name: object) -> Image.Image:
        return Image.new("RGB", (4, 4), (0, 0, 255))


def test_photos_of_phones_with_the_library_for_them(tmp_path: Path) -> None:
    path = write_two_classes(tmp_path, 1, 4) / "dark" / "phone.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pillow_heif():
        assert ImageFolder(tmp_path, 4).left_out == {".heic": 1}
        with pytest.raises(
            DataError, match=r"phone.HEIC: not .*; it is HEIF, for which: pip install pillow-heif; or give"
        ):
            data.read_image(path, data.Preprocess(3, 4, 4, 255, "crop"))
    try:
        with pillow_heif(FakeHeif()):
            folder = ImageFolder(tmp_path, 4)
            assert [path.name for path in folder.paths] == ["000.png", "phone.HEIC", "000.png"]
            assert folder[1][0][:, 0, 0].tolist() == [0, 0, 1]
            path.rename(tmp_path / "dark" / "phone.jpg")
            assert ImageFolder(tmp_path, 4)[1][0][:, 0, 0].tolist() == [0, 0, 1]
    finally:
        Image.OPEN.pop("FAKE", None)
        Image.ID.remove("FAKE")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Train", "train"), ("TRAINING", "train"), ("training_set", "train"), ("train images", "train"),
        ("TrainData", "train"), ("test", "test"), ("Testing", "test"), ("test-set", "test"), ("TEST", "test"), ("val", "validation"),
        ("Valid", "validation"), ("validation", "validation"), ("ValSet", "validation"),
        ("trained", None), ("tests", None), ("set", None), ("data", None), ("invalid", None), ("", None), ("trainer", None), ("值", None),
    ],
)  # fmt: skip
def test_names_of_parts(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_names_that_look_like_parts() -> None:
    assert parts_among(["seg_train", "seg_test", "seg_pred"]) == ["seg_train", "seg_test"]
    assert parts_among(["train", "bus", "test_tube"]) == ["train", "test_tube"]
    assert parts_among(["train", "bus", "training_wheel"]) == []
    assert parts_among(["valid", "invalid"]) == []
    assert parts_among([]) == []


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Train", "TEST"), ("training", "testing"), ("training_set", "test_set"), ("TRAINING", "Test")],
)
def test_two_parts_of_any_name(train: str, test: str, tmp_path: Path) -> None:
    write_two_classes(tmp_path / train, 3, 8)
    write_two_classes(tmp_path / test, 2, 8)
    splits = data.load("folder", tmp_path, 8)
    assert (len(splits.train), len(splits.test), splits.validation) == (6, 4, None)
    assert {path.parents[1].name for path in paths_of(splits.test) or ()} == {test}
    assert splits.notes == ()


@pytest.mark.parametrize("val", ["val", "Val", "valid", "validation", "VALIDATION", "val_images"])
def test_three_parts(val: str, tmp_path: Path) -> None:
    write_two_classes(tmp_path / val, 1, 8)
    splits = data.load("folder", write_parts(tmp_path, "train", "test"), 8, "grey")
    assert isinstance(splits.validation, ImageFolder)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (4, 2, 4)
    normal = splits.with_preprocess(data.Preprocess(1, 8, 8, 255, "crop", (0.5,), (0.25,)))
    assert normal.validation is not None
    np.testing.assert_allclose(normal.validation[:][0], (splits.validation[:][0] - 0.5) / 0.25, atol=1e-6)


def test_validation_is_what_every_epoch_is_measured_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_two_classes(tmp_path / "photos" / "val", 3, 8)
    write_parts(tmp_path / "photos", "train", "test")
    config = RunConfig(**SMALL, data_dir=str(tmp_path / "photos"))
    ready = prepare(config)
    assert ready.val_loader is not None
    assert paths_of(ready.val_loader.dataset) == paths_of(ImageFolder(tmp_path / "photos" / "val", 8))
    folder = RunFolder(tmp_path / "kept")
    trainer = ready.trainer(ready.callbacks(folder))
    trainer.fit(1)
    scores = ready.final_scores(trainer, folder)
    assert (scores["test_total"], scores["val_total"], scores["best_epoch"]) == (4, 6, 1)
    with pytest.raises(
        ConfigError, match=r"validation is 0.25, but .*photos has a part of its own to measure every epoch on; leave"
    ):
        prepare(RunConfig(**SMALL, data_dir=str(tmp_path / "photos"), validation=0.25))
    command = f"train --data folder --data-dir {tmp_path}/photos --model mlp --epochs 1 --batch-size 2 --device cpu --out {tmp_path}/run"
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    assert (
        "\ndata: 4 images to learn from (train), 6 to measure epochs on (val), 4 to test\n  (test); 28x28 rgb\n"
        in printed
    )
    assert re.fullmatch(
        r"best: epoch 1 \(val accuracy \d\.\d{4}\); test accuracy \d\.\d{4} with it", printed.splitlines()[-1]
    )


def test_val_is_tested_with_where_there_is_no_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_two_classes(tmp_path / "photos" / "valid", 3, 8)
    splits = data.load("folder", write_parts(tmp_path / "photos", "train"), 8)
    assert (len(splits.test), splits.validation) == (6, None)
    assert splits.notes == ("there is no folder test: valid is what is tested with",)
    command = f"train --data folder --data-dir {tmp_path}/photos --model mlp --epochs 1 --batch-size 2 --device cpu --out {tmp_path}/run"
    assert main(command.split()) == 0
    printed = capsys.readouterr()
    assert "\ndata: 4 images to learn from (train), 6 to test (valid); 28x28 rgb\n" in printed.out
    assert "gpucnn train: there is no folder test: valid is what is tested with" in printed.err


def test_parts_that_lack_the_others(tmp_path: Path) -> None:
    write_parts(tmp_path, "Train")
    with pytest.raises(
        DataError,
        match="has class folders in Train, but no folder test; add .*/test, or give .*/Train, of .*; or rename it, if",
    ):
        data.load("folder", tmp_path, 8)
    (tmp_path / "Train").rename(tmp_path / "val")
    with pytest.raises(
        DataError, match="has class folders in val, but no folder train; add .*/train, or give .*/val, of"
    ):
        data.load("folder", tmp_path, 8)
    write_parts(tmp_path, "test")
    with pytest.raises(DataError, match="has class folders in test, but no folder train; add"):
        data.load("folder", tmp_path, 8)


def test_two_folders_for_a_part(tmp_path: Path) -> None:
    write_parts(tmp_path, "train", "testing", "Test")
    with pytest.raises(DataError, match="Test, testing are each a name of the test part; keep one of them there"):
        data.load("folder", tmp_path, 8)
    (tmp_path / "Test").rename(tmp_path / "test")
    splits = data.load("folder", tmp_path, 8)
    assert splits.test.folder.name == "test"  # type: ignore[union-attr]
    assert splits.notes == ("not read: testing, beside train, test",)


def test_what_is_beside_the_parts(tmp_path: Path) -> None:
    write_parts(tmp_path, "train", "test", "unlabelled", "docs")
    (tmp_path / "README.md").write_bytes(b"")
    save(tmp_path / "sheet.png", np.zeros((4, 4)))
    save(tmp_path / "train" / "sheet.png", np.zeros((4, 4)))
    assert data.load("folder", tmp_path, 8).notes == (
        "left out: 2 images beside the class folders, 1 .md",
        "not read: docs, unlabelled, beside train, test",
    )


def test_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    write_parts(tmp_path / "a", "seg_train", "seg_test", "seg_pred")
    with pytest.raises(
        DataError,
        match=r"seg_test, seg_train hold folders, no images; if they are parts of the data set, call them train",
    ):
        data.load("folder", tmp_path / "a", 8)
    write_parts(tmp_path / "b", "train", "test")
    with pytest.raises(
        DataError, match=r"test, train hold folders, no images; .* DIR/train/CLASS/\*.png and DIR/test/CLASS"
    ):
        ImageFolder(tmp_path / "b", 8)
    for name in ("cat", "dog"):
        write_parts(tmp_path / "c" / name, "train", "test")
    with pytest.raises(
        DataError, match=r"c/cat: test, train are parts of a data set within a class; give .*/c/cat, if"
    ):
        data.load("folder", tmp_path / "c", 8)


def test_classes_that_are_called_like_parts(tmp_path: Path) -> None:
    for name in ("valid", "invalid"):
        for number in range(5):
            save(tmp_path / "checks" / name / "2026" / f"{number}.png", np.zeros((4, 4)))
    assert ImageFolder(tmp_path / "checks", 4).class_names == ("invalid", "valid")
    assert data.load("folder", tmp_path / "checks", 4).class_names == ("invalid", "valid")
    for name in ("train/1.png", "bus/1.png", "test_tube/1.png", "test_tube/2.png"):
        save(tmp_path / "things" / name, np.zeros((4, 4)))
    assert data.load("folder", tmp_path / "things", 4).class_names == ("bus", "test_tube", "train")


def test_a_test_part_may_lack_a_class(tmp_path: Path) -> None:
    """Its folder may be empty, or not be there."""
    write_parts(tmp_path, "train", "val", "test")
    for image in (tmp_path / "test" / "light").iterdir():
        image.unlink()
    shutil.rmtree(tmp_path / "val" / "dark")
    for _ in range(2):
        splits = data.load("folder", tmp_path, 8)
        assert (splits.test.labels.tolist(), splits.test.num_classes) == ([0, 0], 2)
        assert splits.notes == ("val has no images of dark", "test has no images of light")
        shutil.rmtree(tmp_path / "test" / "light", ignore_errors=True)
    (tmp_path / "test" / "dark").rename(tmp_path / "test" / "grey")
    with pytest.raises(
        DataError, match=r"test: has folders that are not classes of the training images: grey; rename or remove"
    ):
        data.load("folder", tmp_path, 8)
    shutil.rmtree(tmp_path / "test" / "grey")
    save(tmp_path / "test" / "1.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"test: none of the class folders is there, but 1 image; expected dark, light"):
        data.load("folder", tmp_path, 8)


def test_a_class_of_one_image(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 5, 8)
    save(tmp_path / "lone" / "1.png", np.zeros((4, 4)))
    notes = data.load("folder", tmp_path, 8).notes
    assert notes[0] == "there is only one image of lone"
    assert notes[1] in [
        f"there are too few images of lone: none is left {purpose}" for purpose in ("to learn from", "to test with")
    ]
    assert len(notes) == 2
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "dark", tmp_path / "parts" / part / "dark")
        shutil.copytree(tmp_path / "lone", tmp_path / "parts" / part / "lone")
    assert data.load("folder", tmp_path / "parts", 8).notes == ("train has only one image of lone",)


def test_a_thousand_classes_do_not_fill_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"class {number:04}" for number in range(1000)]
    write_two_classes(tmp_path / "train", 1, 8)
    with pytest.raises(DataError, match="class 0009 and 990 more") as caught:
        ImageFolder(tmp_path / "train", 8, class_names=names)
    assert len(str(caught.value)) < 500
    write_two_classes(tmp_path / "test", 1, 8)
    for name in names:
        (tmp_path / "test" / name).mkdir()
    with pytest.raises(DataError, match="class 0009 and 990 more; rename or remove them; the classes are dark, light$"):
        data.load("folder", tmp_path, 8)


def test_a_folder_in_a_folder_is_named(tmp_path: Path) -> None:
    write_two_classes(tmp_path / "photos", 1, 8)
    with pytest.raises(
        DataError,
        match=r"one class folder, photos; expected two or more, .*; or give .*/photos, which has folders in it; folders are read as DIR/CLASS/",
    ):
        data.load("folder", tmp_path, 8)
