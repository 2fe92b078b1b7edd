"""What a folder of images gets that the user does not choose, and that all that follows sees the same."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpucnn import models
from gpucnn.cli.main import main
from gpucnn.data.inspection import InspectedImage, Inspection
from gpucnn.errors import StateError
from gpucnn.files import model_file
from gpucnn.runs.recipe import Photos, for_data_set
from gpucnn.training import RunConfig, RunFolder, prepare, resume
from tests.data.image_files import save, write_two_classes


def inspection(*sizes: tuple[int, int]) -> Inspection:
    """What was seen in a folder with images of these sizes."""
    images = tuple(InspectedImage(Path(f"a/{n}.png"), "", "a", size, "RGB", "", "") for n, size in enumerate(sizes))
    return Inspection(Path("photos"), ("a",), images, (), Counter())


def test_what_is_looked_at() -> None:
    assert Photos.of(inspection((500, 375), (300, 200), (90, 1000))) == Photos(3, 200, 1000)
    assert Photos.of(inspection()) is None


LARGE = Photos(2000, 375, 500)
CASES = [
    # photos, mode, model -> model, image size, epochs, augmentation
    (None, "rgb", None, ("resnet20", 64, 40, ("crop", "flip"))),
    (LARGE, "rgb", None, ("resnet20", 64, 40, ("crop", "flip"))),
    (LARGE._replace(number=2001), None, None, ("resnet20", 64, 20, ("crop", "flip"))),
    (LARGE._replace(number=1_000_000), None, None, ("resnet20", 64, 10, ("crop", "flip"))),
    (Photos(100, 48, 64), "rgb", None, ("resnet20", 48, 40, ("crop", "flip"))),
    (Photos(100, 30, 41), "rgb", None, ("resnet20", 30, 40, ("crop", "flip"))),
    (Photos(100, 28, 40), "rgb", None, ("resnet20", 28, 40, ("flip", "shift:12%,reflect"))),
    (LARGE, "grey", None, ("resnet20", 64, 40, ())),
    (Photos(100, 28, 28), "grey", None, ("resnet20", 28, 40, ())),
    (LARGE, "rgb", "lenet5", ("lenet5", 32, 40, ("crop", "flip"))),
    (LARGE, "rgb", "mlp", ("mlp", 28, 40, ("crop", "flip"))),
    (LARGE, "rgb", "resnet20", ("resnet20", 32, 40, ("crop", "flip"))),
    (LARGE, "rgb", "resnet18", ("resnet18", 128, 40, ("crop", "flip"))),
    (Photos(100, 100, 100), "rgb", "squeezenet", ("squeezenet", 100, 40, ("crop", "flip"))),
    (Photos(100, 20, 20), "rgb", "resnet18", ("resnet18", 32, 40, ("flip", "shift:12%,reflect"))),
]  # fmt: skip


@pytest.mark.parametrize(("photos", "mode", "model", "expected"), CASES)
def test_what_suits_a_folder(
    photos: Photos | None, mode: str | None, model: str | None, expected: tuple[str, int, int, tuple[str, ...]]
) -> None:
    found = for_data_set("folder", mode, model, photos=photos)
    assert (model or found.model, found.image_size, found.epochs, found.augment) == expected
    assert (found.batch_size, found.label_smoothing) == (32, 0.1)
    config = RunConfig(data="folder", mode=mode, model=model).resolved(photos)
    assert (config.model, config.image_size, config.epochs, config.augment) == expected
    assert config.mode == (mode or "rgb")
    models.create(str(config.model), 2, 3, config.image_size)


@pytest.mark.parametrize(
    ("photos", "size", "epochs"),
    [
        (Photos(1000, 375, 500), 224, 10),
        (Photos(1001, 375, 500), 128, 10),
        (Photos(1000, 150, 500), 150, 10),
        (Photos(30_000, 375, 500), 128, 3),
    ],
)
def test_what_suits_a_folder_with_weights(photos: Photos, size: int, epochs: int) -> None:
    for name in ("resnet18", "squeezenet"):
        config = RunConfig(data="folder", model=name, weights="some.pth").resolved(photos)
        assert (config.image_size, config.epochs, config.lr) == (size, epochs, 0.001)
    assert RunConfig(data="folder", model="resnet20", weights="some.pth").resolved(photos).image_size == 32


@pytest.mark.parametrize("name", ["squeezenet", "resnet20", "resnet32", "mlp"])
def test_the_model_is_that_of_the_weights(name: str, tmp_path: Path) -> None:
    """Under the names that training with several GPUs gives, and for other classes; in a file of ours also by what it says."""
    parameters = {f"module.{path}": array for path, array in models.create(name, 7).state_dict().items()}
    save_file(parameters, tmp_path / "some.safetensors")
    assert models.of_weights(tmp_path / "some.safetensors") == name
    model_file.save_model(tmp_path / "own.safetensors", models.create(name, 3), {"name": name})
    assert models.of_weights(tmp_path / "own.safetensors") == name


def test_weights_of_no_model_are_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": np.zeros((3, 3), np.float32)}, tmp_path / "some.safetensors")
    with pytest.raises(StateError, match=r"some.safetensors: weights of no model that is here; give others, or none$"):
        models.of_weights(tmp_path / "some.safetensors")
    state = models.create("resnet20").state_dict()
    del state["layer1.0.conv1.weight"]
    save_file(state, tmp_path / "some.safetensors")
    with pytest.raises(
        StateError, match=r"no model that is here; resnet20 is nearest: give that model, to be told what"
    ):
        models.of_weights(tmp_path / "some.safetensors")


def test_a_run_with_weights_has_their_model(tmp_path: Path) -> None:
    save_file(models.ResNet20(3).state_dict(), tmp_path / "some.safetensors")
    photos = write_two_classes(tmp_path / "photos", 5, 12)
    ready = prepare(RunConfig(data=str(photos), weights=str(tmp_path / "some.safetensors"), device="cpu"))
    assert (ready.config.model, ready.config.image_size, ready.why) == (
        "resnet20",
        32,
        "the one that the weights are of",
    )
    assert ready.config.lr == 0.001


def test_what_is_given_stays() -> None:
    given = {"image_size": 40, "epochs": 3, "augment": (), "label_smoothing": 0.0, "batch_size": 7}
    config = RunConfig(data="folder", **given).resolved(LARGE)  # type: ignore[arg-type]
    assert {name: getattr(config, name) for name in given} == given
    assert config.model == "resnet20"


def test_all_that_follows_sees_what_was_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when the images would lead to another choice later."""
    photos = write_two_classes(tmp_path / "photos", 5, 12)
    command = f"train --data {photos} --epochs 1 --batch-size 8 --device cpu --out {tmp_path / 'run'}"
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    count = models.ResNet20(2).parameter_count()
    assert f"\nmodel: resnet20, {count:,} parameters; chosen for images of at most 40 pixels;\n" in printed
    assert "\ndata: 8 images to learn from, 2 to test; 12x12 rgb\n" in printed
    head = printed.partition("\nepoch ")[0].splitlines()
    assert [line for line in head if len(line) > 80 and " " in line.strip() and str(tmp_path) not in line] == []
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"], config["image_size"], config["create"]["image_size"]) == ("resnet20", 12, 12)
    assert (config["augment"], config["label_smoothing"]) == (["flip", "shift:12%,reflect"], 0.1)

    save(photos / "light" / "large.png", np.zeros((300, 400, 3)))
    resumed = resume(tmp_path / "run").ready
    assert (resumed.config.model, resumed.config.image_size, resumed.why) == ("resnet20", 12, "")
    assert RunFolder(tmp_path / "run").load_preprocess().image_size == 12
    assert prepare(RunConfig(data=str(photos), device="cpu")).config.augment == ("crop", "flip")


def test_no_photo_gets_a_black_frame(tmp_path: Path) -> None:
    """White images stay white, whatever is drawn."""
    for size in (30, 80):
        for name in "ab":
            for number in range(5):
                save(tmp_path / str(size) / name / f"{number}.png", np.full((size, size, 3), 255 - number))
        ready = prepare(RunConfig(data=str(tmp_path / str(size)), device="cpu"))
        for epoch in range(3):
            for images, _ in ready.train_loader.batches(epoch):
                assert images.min() > 0.95


def test_the_first_lines_fit_80_columns(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--model mlp --epochs 1 --device cpu --augment shift:2 affine:degrees=8,scale=0.9/1.1 cutout:3 --mix mixup:0.4"
    )
    assert main(["train", *options.split(), "--validation", "0.2", "--out", "run"]) == 0
    head = capsys.readouterr().out.partition("\nepoch ")[0].splitlines()
    assert max(map(len, head)) <= 80
    assert "; augmentation shift:2 affine:degrees=8,scale=0.9/1.1 cutout:3 mixup:0.4" in " ".join(map(str.strip, head))
