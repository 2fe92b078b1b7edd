"""`gpucnn data`, and what `gpucnn train` makes of a folder that is not whole."""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.cli.main import main
from gpucnn.cli.settings import add_settings, chosen_config
from gpucnn.errors import DataError
from gpucnn.training import RunConfig, prepare
from tests.data.image_files import pillow_heif, save

TEXT = "--data photos --model mlp --image-size 8 --batch-size 16 --epochs 2 --schedule constant --device cpu"
SETTINGS = TEXT.split()
SKIP = "--skip-unreadable"


def write_photos(folder: Path) -> Path:
    """40 images of a class, 13 of another and one of a third, one of them there twice; four files that cannot be read."""
    draw = np.random.default_rng(3)
    for name, count in (("cat", 40), ("größe", 13), ("lone", 1)):
        for number in range(count):
            save(folder / name / f"{number:03}.png", draw.integers(0, 256, (12, 10 + number % 3, 3)))
    Image.open(folder / "cat" / "000.png").save(folder / "größe" / "copy.bmp")
    whole = (folder / "cat" / "001.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(whole[:150])
    (folder / "cat" / "empty.jpg").write_bytes(b"")
    (folder / "größe" / "text.jpg").write_text("no image")
    (folder / "größe" / "gone.png").symlink_to("nowhere")
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / "phone.heic").write_bytes(b"x")
    return folder


@pytest.fixture
def photos(in_tmp_path: Path) -> Iterator[Path]:
    with pillow_heif():
        yield write_photos(Path("photos"))


def repair(photos: Path) -> None:
    """Make images of the files that could not be read."""
    for name in ("cat/cut.png", "cat/empty.jpg", "größe/text.jpg", "größe/gone.png"):
        (photos / name).unlink()
        shutil.copyfile(photos / "cat" / "002.png", photos / name)


def test_all_that_is_in_a_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "photos", "--image-size", "11", "--json", "all.json"]) == 1
    assert capsys.readouterr().out == (
        "photos: 55 images of 3 classes\n"
        "\n"
        "class  train  test\n"
        "------------------\n"
        "cat       32     8\n"
        "größe     12     2\n"
        "lone       1     0\n"
        "all       45    10\n"
        "\n"
        "imbalance: 40 to 1; gpucnn train --balance draws each class as often as any other\n"
        "sizes: 10x12 the smallest, 11x12 the median, 12x12 the largest\n"
        "21 of the images are smaller than 11 pixels, and are enlarged\n"
        "modes: RGB 55\n"
        "left out: 1 .DS_Store, 1 .heic (pip install pillow-heif), 1 .txt\n"
        "there is only one image of lone\n"
        "there are too few images of lone: none is left to test with\n"
        "the same image in two classes: 1 (cat/000.png = größe/copy.bmp); one of each is wrong\n"
        "\n"
        "4 cannot be read; repair or remove them, or leave them out with gpucnn train --skip-unreadable:\n"
        "  cat/cut.png: not an image that can be read (image file is truncated); it begins as PNG does, but is damaged or cut off\n"
        "  cat/empty.jpg: not an image that can be read (an empty file); give PNG, JPEG or .npy\n"
        "  größe/gone.png: a link that leads to no file\n"
        "  größe/text.jpg: not an image that can be read (cannot identify image file); give PNG, JPEG or .npy\n"
    )
    found = json.loads(Path("all.json").read_text())
    assert len(found["images"]) == 55
    for image in found["images"]:
        with Image.open(photos / image["file"]) as there:
            assert (there.width, there.height, there.mode) == (image["width"], image["height"], image["mode"])
    assert [file["file"] for file in found["unreadable"]] == [
        "cat/cut.png",
        "cat/empty.jpg",
        "größe/gone.png",
        "größe/text.jpg",
    ]
    assert found["left_out"] == {".DS_Store": 1, ".heic": 1, ".txt": 1}
    assert found["same_image"] == [["cat/000.png", "größe/copy.bmp"]]
    assert {image["part"] for image in found["images"]} == {"train", "test"}


def test_a_folder_that_is_whole(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 4), ("val", 1), ("test", 2)):
        for name, value in (("a", 3), ("b", 150)):
            for number in range(count):
                save(Path("set") / part / name / f"{number}.png", np.full((4, 4), value + number + count))
    shutil.copy("set/train/a/1.png", "set/test/a/same.png")
    assert main(["data", "set"]) == 0
    assert capsys.readouterr().out == (
        "set: 15 images of 2 classes\n"
        "\n"
        "class  train  validation  test\n"
        "------------------------------\n"
        "a          4           1     3\n"
        "b          4           1     2\n"
        "all        8           2     5\n"
        "\n"
        "sizes: 4x4 the smallest, 4x4 the median, 4x4 the largest\n"
        "modes: L 15; all are grey: --mode grey\n"
        "the same image in the training and the test images: 1 (train/a/1.png = test/a/same.png); remove one of each, or the "
        "test says too much\n"
        "all can be read\n"
    )


def test_many_classes_and_many_bad_files_are_cut(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(45):
        folder = Path("set") / f"class {number:02}"
        save(folder / "one.png", np.full((2, 2), number))
        save(folder / "two.png", np.full((2, 2), 100 + number))
        (folder / "three.png").write_bytes(b"")
    assert main(["data", "set"]) == 1
    text = capsys.readouterr().out.splitlines()
    assert "(5 classes between)" in text
    assert text[4 + 20 + 1 + 20].startswith("all")
    assert text[-1] == "  and 25 more; --json FILE lists all"
    assert len(text) < 80


def test_a_set_that_has_a_name(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "digits", "--json", "digits.json"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0] == "digits: 1,797 grey images of 8x8 pixels in 10 classes"
    assert text[-1] == "all    1,437   360"
    assert sum(json.loads(Path("digits.json").read_text())["images"]["test"]) == 360


def test_a_class_of_which_nothing_can_be_read(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen is told all the same."""
    for name in ("a", "b"):
        save(Path("set") / name / "1.png", np.zeros((2, 2)))
    Path("set/b/1.png").write_bytes(b"")
    assert main(["data", "set"]) == 1
    said = capsys.readouterr()
    assert "1 cannot be read" in said.out
    assert said.err == (
        "gpucnn data: set: no image of b can be read; put some back whole, or remove the class's folder\n"
    )


def test_a_class_of_which_no_test_image_can_be_read(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told, as for a class without any."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            save(Path("set") / part / name / "1.png", np.full((2, 2), len(part) + 9 * len(name)))
    Path("set/test/b/1.png").write_bytes(b"")
    small = "--data ./set --model mlp --image-size 2 --batch-size 2 --epochs 1 --device cpu --quiet --skip-unreadable"
    assert main(["train", *small.split()]) == 0
    assert "gpucnn train: test has no images of b\n" in capsys.readouterr().err


def test_nothing_begins_with_files_that_cannot_be_read(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--out", "run"]):
        assert main(["train", *SETTINGS, *more]) == 1
        assert capsys.readouterr().err == (
            "gpucnn train: photos: 4 of 59 images cannot be read: cat/cut.png, cat/empty.jpg, größe/gone.png, größe/text.jpg; "
            "gpucnn data photos says why; put them back whole, remove them, or leave them out with --skip-unreadable\n"
        )
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]
    with pytest.raises(DataError, match="^photos: 4 of 59 images cannot be read: "):
        prepare(RunConfig(data="./photos", model="mlp", image_size=8, device="cpu"))


def test_files_that_cannot_be_read_are_left_out_as_if_they_were_not_there(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SETTINGS, SKIP]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:6] == [
        "photos: 55 images of 10x12 to 12x12 pixels; 3 classes: cat 40, größe 14, lone 1",
        "  (40 to 1: --balance)",
        "left out: 4 that cannot be read: cat/cut.png, cat/empty.jpg, größe/gone.png,",
        "  größe/text.jpg",
        "the same image in two classes: 1 (cat/000.png = größe/copy.bmp); one of each is",
        "  wrong",
    ]
    assert "gpucnn train: left out: 1 .DS_Store, 1 .heic (pip install pillow-heif), 1 .txt\n" in said.err
    for name in ("cat/cut.png", "cat/empty.jpg", "größe/text.jpg", "größe/gone.png"):
        (photos / name).unlink()
    assert main(["train", *SETTINGS, "--quiet"]) == 0
    first, second = (Path("runs", f"mlp-photos-{number}", "model.safetensors").read_bytes() for number in (1, 2))
    assert first == second


def test_a_file_that_was_repaired_changes_nothing_of_the_run(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped, repaired and resumed it ends as the one that never stopped, to the bit; and is measured on the same images."""
    settings = [*SETTINGS, SKIP, "--quiet", "--validation", "0.3"]
    assert main(["train", *settings, "--out", "whole"]) == 0
    assert main(["train", *settings, "--epochs", "1", "--out", "halves"]) == 0
    repair(photos)
    save(photos / "lone" / "new.png", np.zeros((3, 3)))
    capsys.readouterr()
    assert main(["train", "--resume", "halves", "--epochs", "2", "--quiet"]) == 0
    assert "1 image is new since the run began (lone/new.png); the run goes on without" in capsys.readouterr().err
    for name in ("model.safetensors", "best.safetensors", "metrics.jsonl"):
        assert Path("whole", name).read_bytes() == Path("halves", name).read_bytes(), name
    assert main(["evaluate", "whole", "--device", "cpu"]) == 0
    summary = json.loads(Path("whole/summary.json").read_text())
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].endswith(f"({summary['test_correct']}/{summary['test_total']})")
    assert "cannot be read" not in said.err


def test_what_is_damaged_later_does_not_matter_unless_it_is_learned_from(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SETTINGS, SKIP, "--quiet", "--epochs", "1", "--out", "run"]) == 0
    (photos / "cat" / "new.png").write_bytes(b"damaged")
    assert main(["train", "--resume", "run", "--epochs", "2", "--quiet"]) == 0
    (photos / "cat" / "003.png").write_bytes(b"damaged")
    assert main(["train", "--resume", "run", "--epochs", "3", "--quiet"]) == 1
    assert "1 image has changed since the run began (cat/003.png)" in capsys.readouterr().err


def test_a_path_is_a_data_set(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        for number in range(4):
            save(Path("my photos") / name / f"{number}.png", np.full((4, 4), 50 * number + len(name)))
    by_path = RunConfig(data=f"my photos{os.sep}")
    assert (by_path.data, by_path.data_dir) == ("folder", f"my photos{os.sep}")
    assert RunConfig(data="my photos") == RunConfig(data="folder", data_dir="my photos")
    small = "--model mlp --image-size 4 --batch-size 2 --epochs 1 --device cpu --quiet"
    settings = small.split()
    Path("run.toml").write_text('data = "my photos"\n')
    assert main(["train", "--data", f"../{Path.cwd().name}/my photos", *settings]) == 0
    assert main(["train", "--config", "run.toml", *settings]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mlp-my_photos-1", "mlp-my_photos-2"]
    config = json.loads(Path("runs/mlp-my_photos-2/config.json").read_text())
    assert (config["data"], config["data_dir"]) == ("folder", "my photos")


def test_a_path_on_the_command_line_wins_over_a_file(in_tmp_path: Path) -> None:
    """And says where that data set lies: what the file says of another one is passed over."""
    Path("photos").mkdir()
    for written, given, expected in (
        ('data = "./photos"', ["--data", "mnist"], ("mnist", None)),
        ('data = "./photos"', ["--data", "./other"], ("folder", "./other")),
        ('data = "mnist"\ndata_dir = "elsewhere"', ["--data", "photos"], ("folder", "photos")),
        ('data = "mnist"\ndata_dir = "elsewhere"', ["--data", "cifar10"], ("cifar10", "elsewhere")),
        ('data = "mnist"\ndata_dir = "elsewhere"', ["--data", "folder", "--data-dir", "x"], ("folder", "x")),
    ):
        Path("run.toml").write_text(written)
        parser = argparse.ArgumentParser()
        add_settings(parser)
        config = chosen_config(parser.parse_args(["--config", "run.toml", *given]))
        assert (config.data, config.data_dir) == expected
