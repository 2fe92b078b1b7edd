"""A folder of images that changes between training, resuming and evaluating: what was trained on is never measured as test."""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError
from gpucnn.runs.image_list import ImageList
from gpucnn.runs.list import list_runs
from gpucnn.training import CheckpointWriter, RunConfig, RunFolder, RunRecorder, prepare
from tests.data.image_files import save

SETTINGS = "--data folder --data-dir photos --model mlp --image-size 8 --batch-size 16 --epochs 2 --schedule constant --quiet --device cpu"
EVALUATE = ["evaluate", "run", "--device", "cpu", "--json", "found.json", "--worst", "1000"]


def write_noise(folder: Path, count: int, seed: int = 0, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Images of which nothing can be learned but by heart, all files of one size."""
    draw = np.random.default_rng(seed)
    for name in names:
        for number in range(count):
            save(folder / name / f"{number:03}.bmp", draw.integers(0, 256, (8, 8, 3)))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "photos", and "run", which was trained on them; "halves" was stopped after an epoch."""
    place = tmp_path_factory.mktemp("trained")
    write_noise(place / "photos", 30)
    before = Path.cwd()
    os.chdir(place)
    try:
        assert main(["train", *SETTINGS.split(), "--validation", "0.2", "--out", "validated"]) == 0
        assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
        assert main(["train", *SETTINGS.replace("--epochs 2", "--epochs 1").split(), "--out", "halves"]) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed, as the current folder."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    monkeypatch.chdir(copy)
    return copy


def images_of(run: str = "run") -> ImageList:
    folder = RunFolder(run)
    images = folder.read_images(folder.read_config())
    assert images is not None
    return images


def measured(capsys: pytest.CaptureFixture[str], *more: str, run: str = "run") -> tuple[set[str], str, list[str]]:
    """The files that `gpucnn evaluate` measures, what it says of them, and its notes."""
    capsys.readouterr()
    assert main([*EVALUATE[:1], run, *EVALUATE[2:], *more]) == 0
    printed, found = capsys.readouterr(), json.loads(Path("found.json").read_text())
    files = {sample["file"] for sample in found["worst"]}
    assert len(files) == found["total"]
    (said,) = (line for line in printed.out.splitlines() if line.startswith("measured: "))
    return files, said, printed.err.splitlines()


def of_the_run(part: str, run: str = "run") -> set[str]:
    return {f"photos/{name}" for name in images_of(run).names(part)}


def test_the_list_is_what_was_trained_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = images_of()
    content = {path: path.read_bytes() for path in Path("photos").rglob("*.bmp")}
    assert of_the_run("train") | of_the_run("test") == {str(path) for path in content}
    for file in images.files:
        own = content[Path("photos", file.name)]
        assert (file.size, file.digest) == (len(own), hashlib.blake2b(own, digest_size=16).hexdigest())
    test = of_the_run("test")
    assert 6 <= len(test) <= 18
    assert measured(capsys) == (test, f"measured: {len(test)} images, the run's test images in photos", [])
    assert measured(capsys, "--split", "train")[0] == of_the_run("train")
    assert json.loads(Path("run/summary.json").read_text())["test_total"] == len(test)
    assert of_the_run("validation", "validated") < of_the_run("train")
    assert of_the_run("train", "validated") == of_the_run("train") - of_the_run("validation", "validated")
    assert measured(capsys, "--split", "train", run="validated")[0] == of_the_run("train")
    assert list_runs(".")


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("place_in_order", [0, -1])
def test_one_image_less(part: str, place_in_order: int, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = of_the_run("test")
    gone = sorted(of_the_run(part))[place_in_order]
    Path(gone).unlink()
    files, _, notes = measured(capsys)
    assert files == test - {gone}
    assert notes == [f"gpucnn evaluate: photos: 1 image is gone since the run began ({gone.removeprefix('photos/')})"]


def test_images_that_are_new_gone_and_other(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, train = of_the_run("test"), of_the_run("train")
    for number in range(3):
        save(Path(f"photos/cat/a{number}.bmp"), np.full((8, 8, 3), number))
    first, second, *_ = sorted(test)
    Path(first).unlink()
    save(Path(second), np.zeros((8, 8, 3)))  # as long as before
    save(Path(min(train)), np.zeros((9, 9, 3)))
    files, _, notes = measured(capsys)
    assert files == test - {first}
    changed = sorted(name.removeprefix("photos/") for name in (min(train), second))
    assert notes == [
        (
            "gpucnn evaluate: photos: 3 images are new since the run began (cat/a0.bmp, cat/a1.bmp, cat/a2.bmp), 1 is gone "
            f"({first.removeprefix('photos/')}), 2 have changed ({', '.join(changed)})"
        )
    ]


def test_images_that_were_trained_on_under_another_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, train = sorted(of_the_run("test")), sorted(of_the_run("train"))
    shutil.copy(train[0], test[0])  # in the place of a test image
    shutil.copy(train[1], "photos/cat/new.bmp")
    Path(train[2]).rename("photos/dog/renamed.bmp")
    files, _, notes = measured(capsys)
    assert files == set(test[1:])
    assert "2 images are new" in notes[0]
    assert "1 is gone" in notes[0]
    assert "1 has changed" in notes[0]


def test_another_folder_is_measured_as_a_whole(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {str(path) for path in write_noise(Path("other"), 7, 9).rglob("*.bmp")}
    assert measured(capsys, "--data-dir", "other") == (other, "measured: 14 images, the images in other", [])
    found = json.loads(Path("found.json").read_text())
    assert (found["data_dir"], found["total"]) == ("other", 14)
    shutil.copy(min(of_the_run("train")), "other/cat/known.bmp")
    files, what, notes = measured(capsys, "--data-dir", "other")
    assert (files, what) == (other, "measured: 14 images, the images in other")
    assert notes == ["gpucnn evaluate: other: 1 of its images is left out, as the run was trained on them"]
    assert measured(capsys, "--data-dir", "other", "--split", "train")[0] == {"other/cat/known.bmp"}


def test_what_cannot_be_read_in_another_folder_is_left_out_where_it_was_in_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {str(path) for path in write_noise(Path("other"), 7, 9).rglob("*.bmp")}
    Path("other/cat/broken.bmp").write_bytes(b"BM and nothing more")
    config = Path("run/config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "skip_unreadable": True}))
    files, _, (note,) = measured(capsys, "--data-dir", "other")
    assert files == other
    assert note.endswith("other: 1 unreadable file left out, as in training: other/cat/broken.bmp")


def test_the_run_s_own_folder_moved_is_measured_as_before(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = {name.replace("photos", "moved") for name in of_the_run("test")}
    shutil.copytree("photos", "moved")
    files, _, (note,) = measured(capsys, "--data-dir", "moved")
    assert files == test
    assert note.endswith(
        f"moved: {len(of_the_run('train'))} of its images are left out, as the run was trained on them"
    )
    assert measured(capsys, "--data-dir", "../copy/photos")[2] == [], "the same folder by another name"
    assert measured(capsys, "--data-dir", "moved", run="validated")[0] == test


def test_classes_of_another_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(Path("other"), 4, 9, ("cat", "bird"))
    capsys.readouterr()
    assert main([*EVALUATE, "--data-dir", "other"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn evaluate: other: has folders that are not classes of the training images: bird; rename or remove them; the "
        "classes are cat, dog\n"
    )


def test_a_folder_may_lack_classes(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(Path("photos"), 5, 0, ("ant", "bee", "cow"))
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    write_noise(Path("other"), 4, 1, ("bee", "cow"))
    measured(capsys, "--data-dir", "other")
    found = json.loads(Path("found.json").read_text())
    assert [row["images"] for row in found["classes"]] == [0, 4, 4]
    write_noise(Path("bees/test"), 3, 2, ("bee",))
    assert main([*EVALUATE, "--data-dir", "bees"]) == 1
    assert f"give {Path('bees/test')}, of whose images" in capsys.readouterr().err
    _, _, notes = measured(capsys, "--data-dir", "bees/test")
    assert notes == [f"gpucnn evaluate: {Path('bees/test')} has no images of ant, cow"]
    found = json.loads(Path("found.json").read_text())
    assert [row["images"] for row in found["classes"]] == [0, 3, 0]


def test_a_folder_without_one_that_fits(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in of_the_run("test"):
        Path(name).unlink()
    assert main(EVALUATE) == 1
    assert capsys.readouterr().err.endswith(
        "photos: none of the run's test images is there any more; put them back, or give another --data-dir\n"
    )
    shutil.copytree("photos", "known")
    assert main([*EVALUATE, "--data-dir", "known"]) == 1
    assert (
        "known: all of its images are ones that the run was trained on, or measured by in every epoch; give another --data-dir"
        in capsys.readouterr().err
    )
    write_noise(Path("other"), 2, 9)
    assert main([*EVALUATE, "--data-dir", "other", "--split", "train"]) == 1
    assert (
        "other: none of its images is one that the run was trained on, or measured by in every epoch; give another"
        in capsys.readouterr().err
    )


def test_test_images_of_their_own(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(Path("photos/train"), 6)
    write_noise(Path("photos/test"), 3, 1)
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    assert images_of().names("test")[0] == "test/cat/000.bmp"
    write_noise(Path("photos/test"), 5, 1)  # two more a class
    shutil.copy("photos/train/dog/000.bmp", "photos/test/dog/900.bmp")
    files, what, (note,) = measured(capsys)
    assert (len(files), what) == (10, "measured: 10 images, the run's test images in photos")
    assert "photos/test/dog/900.bmp" not in files
    assert "5 images are new since the run began (test/cat/003.bmp, test/cat/004.bmp, test/dog/003.bmp, ...)" in note
    shutil.copytree("photos", "moved")
    files, what, _ = measured(capsys, "--data-dir", "moved")
    assert (len(files), what) == (10, "measured: 10 images, the images in moved/test")
    assert len(measured(capsys, "--data-dir", "moved", "--split", "train")[0]) == 12


def test_a_validation_part_is_kept_in_mind(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        write_noise(Path("photos", part), 4, seed)
    one = SETTINGS.replace("--epochs 2", "--epochs 1").split()
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    assert main(["train", *one, "--out", "halves"]) == 0
    assert [len(images_of().names(part)) for part in ("train", "validation", "test")] == [8, 8, 8]
    Path("photos/val/cat/000.bmp").rename("photos/test/cat/new.bmp")
    files, _, (note,) = measured(capsys)
    assert files == of_the_run("test")
    assert "1 image is new since the run began (test/cat/new.bmp), 1 is gone (val/cat/000.bmp)" in note
    assert main(["train", "--resume", "halves", "--epochs", "2", "--quiet"]) == 1
    Path("photos/test/cat/new.bmp").rename("photos/val/cat/000.bmp")
    save(Path("photos/val/cat/more.bmp"), np.zeros((8, 8, 3)))
    assert main(["train", "--resume", "halves", "--epochs", "2", "--quiet"]) == 0
    assert Path("halves/metrics.jsonl").read_bytes() == Path("run/metrics.jsonl").read_bytes()


def test_doubles_are_told(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(Path("photos/train"), 6)
    write_noise(Path("photos/test"), 2)
    assert main(["train", *SETTINGS.replace("--quiet", "").split(), "--out", "run"]) == 0
    assert capsys.readouterr().out.splitlines()[1:5] == [
        "the same image in the training and the test images: 4 (train/cat/000.bmp =",
        "  test/cat/000.bmp, train/cat/001.bmp = test/cat/001.bmp, train/cat/002.bmp =",
        "  test/dog/000.bmp, ...); remove one of each, or the test says too much",
        "device: cpu (asked for)",
    ]
    assert main(["evaluate", "run"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn evaluate: photos: all test images have the very bytes of images that the run was trained on; give another "
        "--data-dir\n"
    )


def test_test_images_that_are_training_images_are_not_measured(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(Path("photos/train"), 6)
    write_noise(Path("photos/test"), 2)
    save(Path("photos/test/cat/own.bmp"), np.full((8, 8, 3), 7))
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    capsys.readouterr()
    files, _, notes = measured(capsys)
    assert files == {"photos/test/cat/own.bmp"}
    assert notes == [
        "gpucnn evaluate: 4 of the run's test images are left out, as they have the very bytes of images that it was trained on"
    ]


def test_a_list_that_nobody_keeps_is_told_at_once(place: Path) -> None:
    ready = prepare(RunConfig(data="folder", data_dir="photos", model="mlp", image_size=8, device="cpu"))
    for kind in (RunRecorder, CheckpointWriter):
        with pytest.raises(
            ArgumentError, match="names images-.*jsonl as the list of its images, and its RunFolder has None; set"
        ):
            kind(RunFolder("own"), ready.description())
    folder = RunFolder("own")
    folder.images = ready.images
    RunRecorder(folder, ready.description())


def test_digits_are_in_no_folder(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "mlp", "--epochs", "1", "--out", "run", "--quiet", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--data-dir", "photos"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn evaluate: --data-dir: the digits come with gpucnn, and no folder is read; leave it out\n"
    )


ON = ["train", "--resume", "halves", "--epochs", "2", "--quiet"]


def test_a_run_goes_on_with_the_images_that_it_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("photos/cat/000a.bmp"), np.zeros((8, 8, 3)))
    assert main(ON) == 0
    assert capsys.readouterr().err == (
        "gpucnn train: 1 image is new since the run began (cat/000a.bmp); the run goes on without\n"
    )
    for name in ("metrics.jsonl", "model.safetensors", "best.safetensors"):
        assert Path("halves", name).read_bytes() == Path("run", name).read_bytes(), name
    assert images_of("halves").text() == images_of().text()


def test_so_does_one_with_validation_in_a_folder_that_moved(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*SETTINGS.replace("--epochs 2", "--epochs 1").split(), "--validation", "0.2", "--out", "part"]
    assert main(["train", *options]) == 0
    Path("photos").rename("moved")
    save(Path("moved/dog/0.bmp"), np.zeros((8, 8, 3)))
    assert main(["train", "--resume", "part", "--epochs", "2", "--quiet", "--data-dir", "moved"]) == 0
    assert Path("part/metrics.jsonl").read_bytes() == Path("validated/metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "1 image is gone since the run began ("),
        (lambda path: save(path, np.zeros((8, 8, 3))), "1 image has changed since the run began ("),
        (lambda path: path.rename(path.with_name("x.bmp")), "1 image is gone since the run began ("),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_run_does_not_go_on_with_others(
    part: str, change: Callable[[Path], Any], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = max(of_the_run(part))
    change(Path(name))
    before = {path: path.read_bytes() for path in Path("halves").rglob("*") if path.is_file()}
    assert main(ON) == 1
    assert capsys.readouterr().err == (
        f"gpucnn train: photos: {said}{name.removeprefix('photos/')}); put them back as they were, or begin a new run with the "
        "images that there are\n"
    )
    assert {path: path.read_bytes() for path in Path("halves").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "the list of the run's images cannot be read (No such file or directory); put it back"),
        (lambda path: path.write_text("{"), "the list of the run's images cannot be read (Expecting property name"),
        (lambda path: path.write_text("[1]\n"), "the list of the run's images cannot be read ("),
        (lambda path: path.write_text(""), "not the list of the run's images (its content was changed); put it back"),
    ],
)
def test_a_list_that_is_none(
    harm: Callable[[Path], Any], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = Path("run").glob("images-*.jsonl")
    harm(path)
    for command in (EVALUATE, ["train", "--resume", "run"]):
        assert main(command) == 1
        assert f"{path}: {said}" in capsys.readouterr().err


def test_a_new_run_in_the_folder_of_an_earlier_one_has_its_own_list(place: Path) -> None:
    before = {path.name for path in Path("run").glob("images-*.jsonl")}
    write_noise(Path("photos"), 32)
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    (path,) = Path("run").glob("images-*.jsonl")
    assert path.name not in before
    assert len(images_of().files) == 64


def test_an_image_that_cannot_be_read_is_told_before_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/cat/x.bmp").symlink_to("nowhere")
    assert main(["train", *SETTINGS.split()]) == 1
    assert capsys.readouterr().err.startswith("gpucnn train: photos: 1 of 61 images cannot be read: cat/x.bmp (a link ")
    assert not Path("runs").exists()


def as_an_earlier_gpucnn_made_it(run: str) -> None:
    """Take away what it did not know."""
    folder = RunFolder(run)
    config = folder.read_config()
    (folder.path / config.pop("images")).unlink()
    folder.config_file.write_text(json.dumps(config))


def test_a_run_without_a_list(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_an_earlier_gpucnn_made_it("run")
    summary = json.loads(Path("run/summary.json").read_text())
    Path("run/summary.json").write_text(json.dumps({**summary, "test_total": 12}))  # a fifth, as it was divided then
    files, _, notes = measured(capsys)
    assert len(files) == 12
    (note,) = notes
    assert note == (
        "gpucnn evaluate: the run was made before runs kept lists of their images: if photos has changed since, some that it "
        "was trained on are among those measured"
    )
    assert measured(capsys, "--data-dir", str(write_noise(Path("other"), 4, 3)))[2] == [
        "gpucnn evaluate: the run was made before runs kept lists of their images: it may have been trained on some of these"
    ]
    write_noise(Path("photos"), 40)
    assert main(EVALUATE) == 1
    assert (
        "photos: has changed since the run began: 16 test images, which were 12; the run kept no list"
        in capsys.readouterr().err
    )


def test_a_folder_that_a_mac_has_copied(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its names are those of the run, with umlauts in two characters."""
    for name in ("cat", "dog"):
        for number in range(6):
            save(
                Path(f"photos/{name}/grün {number}.bmp"),
                np.random.default_rng([number, len(name), ord(name[0])]).integers(0, 256, (8, 8, 3)),
            )
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    before = measured(capsys)[0]
    for path in [*Path("photos").rglob("*.bmp")]:
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    files, _, notes = measured(capsys)
    assert {unicodedata.normalize("NFC", name) for name in files} == before
    assert not any("gone" in note for note in notes)
    assert main(["train", "--resume", "run", "--epochs", "3"]) == 0


def test_a_class_that_has_gone(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(Path("photos"), 5, 0, ("ant", "bee", "cow"))
    assert main(["train", *SETTINGS.split(), "--out", "run"]) == 0
    shutil.rmtree("photos/ant")
    files, _, (note,) = measured(capsys)
    assert files == {name for name in of_the_run("test") if "/ant/" not in name}
    assert "5 images are gone since the run began (ant/000.bmp, ant/001.bmp, ant/002.bmp, ...)" in note
    found = json.loads(Path("found.json").read_text())
    assert [row["images"] for row in found["classes"]] == [0, 1, 1]
    assert main(["train", "--resume", "run", "--epochs", "3"]) == 1
    assert "5 images are gone" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate run", "train --resume halves"])
def test_images_that_were_moved_are_asked_for(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").rename("fotos")
    assert main(command.split()) == 1
    said = "photos: the run's images are not there; say where they are, with --data-dir (data_dir)\n"
    assert capsys.readouterr().err == f"gpucnn {command.split()[0]}: {said}"
