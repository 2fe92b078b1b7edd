"""A trained model in the hand: `gpucnn.load(RUN).predict(...)`."""

import io
import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import gpucnn
from gpucnn import Tensor, data, no_grad
from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError, DataError, GpucnnError, RunError
from gpucnn.runs import trained_run
from tests.cli.small_runs import save_digit, train
from tests.data.image_files import write_two_classes
from tests.html_page import Page


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a folder of colour images, with a background and a normalisation of its own."""
    place = tmp_path_factory.mktemp("photos")
    options = ["--data-dir", str(write_two_classes(place / "images", 6, 8)), "--image-size", "8", "--model", "mlp"]
    options += ["--background", "white", "--normalize", "--epochs", "1", "--device", "cpu", "--quiet"]
    assert main(["train", "--data", "folder", *options, "--out", str(place / "run")]) == 0
    return place / "run"


def every_kind(folder: Path) -> list[Path]:
    """One picture as files of all kinds, of 20 x 14 pixels, and what its pixels alone do not tell."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    colour = Image.fromarray(rng.integers(0, 256, (14, 20, 3), np.uint8))
    grey, cover = colour.convert("L"), Image.fromarray(rng.integers(0, 256, (14, 20), np.uint8))
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    alpha, pair = colour.copy(), grey.copy()
    alpha.putalpha(cover)
    pair.putalpha(cover)
    images = {
        "rgb.png": colour, "grey.png": grey, "one.png": grey.convert("1"), "sixteen.png": sixteen, "alpha.png": alpha,
        "pair.png": pair, "palette.gif": colour.convert("P"), "cmyk.jpg": colour.convert("CMYK"), "sixteen.tif": sixteen,
        "clear.png": colour.convert("P"), "turned.jpg": colour, "float.tif": Image.fromarray(np.asarray(grey) / np.float32(255)),
    }  # fmt: skip
    turned = Image.Exif()
    turned[0x0112] = 6
    options: dict[str, dict[str, Any]] = {"turned.jpg": {"exif": turned}, "clear.png": {"transparency": 3}}
    for name, image in images.items():
        image.save(folder / name, **options.get(name, {}))
    np.save(folder / "array.npy", np.asarray(colour))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_every_way_to_give_an_image_is_as_the_command_has_it(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    files = every_kind(tmp_path / "images")
    command = ["predict", str(run), str(tmp_path / "images"), "--top", "99", "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "answers.json")]) == 0
    told = json.loads((tmp_path / "answers.json").read_text())
    expected = [[(answer["class"], answer["probability"]) for answer in one["answers"]] for one in told]
    assert len({str(answers) for answers in expected}) > 6

    trained = gpucnn.load(run, device="cpu")
    assert trained.predict(files, 99) == expected
    assert trained.predict(tmp_path / "images", 99) == dict(zip(map(str, files), expected, strict=True))
    assert trained.predict([file.read_bytes() for file in files], 99) == expected
    assert trained.predict([io.BytesIO(file.read_bytes()) for file in files], 99) == expected
    for file, answers in zip(files, expected, strict=True):
        assert trained.predict(str(file), 99) == answers
        with file.open("rb") as opened:
            assert trained.predict(opened, 99) == answers
        if file.suffix != ".npy":
            with Image.open(file) as image:
                assert trained.predict(image, 99) == answers


def test_arrays_are_taken_as_the_image_that_they_are_of(photos: Path) -> None:
    trained = gpucnn.load(photos)
    rng = np.random.default_rng(5)
    colour = rng.integers(0, 256, (3, 9, 9, 3), np.uint8)

    def of(image: Image.Image) -> Any:
        file = io.BytesIO()
        image.save(file, "PNG")
        return trained.predict(file.getvalue())

    expected = [of(Image.fromarray(one)) for one in colour]
    assert trained.predict(colour) == expected
    assert trained.predict(colour.transpose(0, 3, 1, 2)) == expected
    assert trained.predict(colour[0]) == trained.predict(Tensor(colour[0].astype(np.int64))) == expected[0]
    assert trained.predict(colour[0].transpose(2, 0, 1)) == expected[0]
    grey = colour[..., 0]
    assert trained.predict(grey[..., None]) == [of(Image.fromarray(one)) for one in grey]
    alpha = rng.integers(0, 256, (9, 9, 4), np.uint8)
    assert trained.predict(alpha) == of(Image.fromarray(alpha))
    on_white = np.where(alpha[..., 3:] > 99, alpha[..., :3], np.uint8(255))
    alpha[..., 3] = np.where(alpha[..., 3] > 99, 255, 0)
    assert trained.predict(alpha) == trained.predict(on_white), "the background that the run has"
    assert trained.predict(grey[0].astype(np.uint16) * 257) == of(Image.fromarray(grey[0]))
    assert trained.predict(grey[0] > 99) == of(Image.fromarray(np.where(grey[0] > 99, np.uint8(255), np.uint8(0))))
    assert trained.predict([]) == []


def test_the_answers_are_those_of_the_model_on_the_run_s_own_data(digits: Path) -> None:
    trained = gpucnn.load(digits)
    test = data.load("digits", image_size=28).test
    raw = test.images[:9, 0].astype(float)
    with no_grad():
        logits = trained.model(Tensor(test[:9][0])).numpy().astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    images = [np.rint(one * 255 / 16).astype(np.uint8) for one in raw]
    found = trained.predict(images, top=10)
    for answers, row in zip(found, shares, strict=True):
        assert [name for name, _ in answers] == [str(place) for place in np.argsort(-row)]
        assert [share for _, share in answers] == pytest.approx(sorted(row, reverse=True), abs=1e-5)
    assert [len(trained.predict(images[0], top)) for top in (1, 5, 10, 11)] == [1, 5, 10, 10]
    assert len(trained.predict(images[0])) == 5


def test_threads_and_batches_change_nothing(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [save_digit(tmp_path / f"{index}.png", index) for index in range(12)]
    trained = gpucnn.load(digits, device="cpu")
    together = trained.predict(files)
    with ThreadPoolExecutor(8) as pool:
        assert set(map(str, pool.map(lambda _: trained.predict(files), range(24)))) == {str(together)}
    trained.model.train()
    for size in (1, 5):
        monkeypatch.setattr(trained_run, "BATCH", size)
        for answers, expected in zip(trained.predict(iter(files)), together, strict=True):
            assert [name for name, _ in answers] == [name for name, _ in expected]
            assert dict(answers) == pytest.approx(dict(expected), rel=1e-5)
    assert trained.model.training, "it is put back"


def test_ink_on_paper_is_warned_of_and_inverted(digits: Path, tmp_path: Path) -> None:
    trained = gpucnn.load(digits)
    light = [Image.open(save_digit(tmp_path / f"{index}.png", index)).copy() for index in range(3)]
    dark = [ImageOps.invert(image) for image in light]
    assert trained.predict(dark, invert=True) == trained.predict(light)
    said = r"images\[1\] is the first of 2 that are dark on light, and digits is light on dark; give invert=True$"
    with pytest.warns(UserWarning, match=f"^predict: {said}") as warned:
        trained.predict([light[0], *dark[1:]])
    assert len(warned) == 1
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="predict: the image is dark on light after invert, and .*; give invert=False"):
        trained.predict(light[1], invert=True)


def test_images_as_the_model_takes_them(photos: Path, digits: Path, tmp_path: Path) -> None:
    """One or several, of any kind: their answers are those of `predict`; what is warned of is the same."""
    trained = gpucnn.load(photos)
    files = every_kind(tmp_path / "pictures")
    together = trained.as_input(files)
    assert together.shape == (len(files), 3, 8, 8)
    for file, one in zip(files, together, strict=True):
        np.testing.assert_array_equal(trained.as_input(file), one[None])
        logits = trained.model(one[None]).numpy()[0].astype(float)
        shares = dict(zip(trained.class_names, np.exp(logits) / np.exp(logits).sum(), strict=True))
        assert dict(trained.predict(file)) == pytest.approx(shares, rel=1e-5)
    assert trained.as_input(tmp_path / "pictures").shape == together.shape
    trained = gpucnn.load(digits)
    light = Image.open(save_digit(tmp_path / "1.png", 1)).copy()
    dark = ImageOps.invert(light)
    np.testing.assert_array_equal(trained.as_input(dark, invert=True), trained.as_input(light))
    with pytest.warns(
        UserWarning, match=r"^as_input: images\[1\] is .* dark on light, .*; give invert=True$"
    ) as warned:
        trained.as_input([light, dark])
    assert [one.filename for one in warned] == [__file__]
    with pytest.raises(DataError, match=r"^images\[1\]: gone.png: no such image file$"):
        trained.as_input([light, "gone.png"])
    with pytest.raises(ArgumentError, match="^as_input: expected images, got none$"):
        trained.as_input([])


FLOATS = np.linspace(0, 1, 64).reshape(8, 8)
WRONG: list[tuple[Any, type[GpucnnError], str]] = [
    (3, ArgumentError, "expected an image: a path, bytes, a file opened with mode 'rb', a Pillow image or an array, got 3"),
    ({"a": b""}, ArgumentError, "expected an image: a path, bytes, a file opened with mode 'rb', a Pillow image or an array, got {'a': b''}"),
    ([b"", 3], DataError, "images[0]: the bytes: not an image that can be read (an empty file); give PNG, JPEG or .npy"),
    ([FLOATS > 0, 3], ArgumentError, "images[1]: expected an image: a path, bytes,"),
    ([FLOATS > 0] * 70 + ["gone.png"], DataError, "images[70]: gone.png: no such image file"),
    ([[FLOATS > 0]], ArgumentError, "images[0]: expected an image: a path, "),
    ("gone.png", DataError, "gone.png: no such image file"),
    (Path("gone.png"), DataError, "gone.png: no such image file"),
    (b"abc", DataError, "the bytes: not an image that can be read (cannot identify what image it is); give PNG, JPEG or .npy"),
    (b"\x89PNG\r\n\x1a\n", DataError, "the bytes: not an image that can be read (cannot identify what image it is); it begins as PNG does, but is damaged or cut off"),
    (io.BytesIO(), DataError, "the open file: nothing is left to read; if it was read before, file.seek(0) goes back"),
    (io.StringIO("abc"), DataError, "the open file: gives str, not bytes; open it with mode 'rb'"),
    (FLOATS, DataError, "the array: expected bytes (uint8) from 0 to 255, got float64 from 0 to 1; np.rint(255 * image).astype('uint8') makes them"),
    (FLOATS * 255, DataError, "the array: expected bytes (uint8) from 0 to 255, got float64 from 0 to 255; np.rint(image).astype('uint8') makes them"),
    (Tensor(FLOATS - 0.5), DataError, "the array: expected bytes (uint8) from 0 to 255, got float64 from -0.5 to 0.5; give the pixels as they were before normalisation"),
    (FLOATS[None, None], DataError, "images[0]: the array: expected bytes (uint8)"),
    ((FLOATS * 200).astype(np.uint16), DataError, "the array: uint16 from 0 to 200 are black as 16 bits, which go up to 65535; if 255 is white: image.astype('uint8')"),
    ((FLOATS * 300).astype(np.int32), DataError, "the array: expected bytes (uint8) from 0 to 255, got int32 from 0 to 300; of 16 bits image.astype('uint16') is taken"),
    ((FLOATS - 1).astype(np.int8), DataError, "the array: expected bytes (uint8) from 0 to 255, got int8 from -1 to 0; give the pixels as they were before normalisation"),
    (FLOATS.astype(complex), DataError, "the array: expected bytes (uint8) from 0 to 255, got complex128"),
    (np.array(np.datetime64("2026")), DataError, "the array: expected bytes (uint8) from 0 to 255, got datetime64[Y]"),
    (np.zeros((5, 8, 8), np.uint8), DataError, "predict: an array (5, 8, 8) of uint8 is no image (H, W, C); of several grey ones give images[..., None], (N, H, W, 1)"),
    (np.zeros((2, 5, 8, 8), np.uint8), DataError, "images[0]: the array: expected one image (H, W), (C, H, W) or (H, W, C), got (5, 8, 8)"),
    (np.zeros((1, 2, 3, 4, 5), np.uint8), DataError, "the array: expected one image (H, W), (C, H, W) or (H, W, C), got (1, 2, 3, 4, 5)"),
    (np.zeros(7, np.uint8), DataError, "the array: expected one image (H, W), (C, H, W) or (H, W, C), got (7,)"),
    (np.array(["gone.png"]), DataError, "images[0]: gone.png: no such image file"),
]  # fmt: skip


def test_what_is_no_image_is_named(digits: Path, in_tmp_path: Path) -> None:
    trained = gpucnn.load(digits)
    with Image.open(save_digit(Path("1.png"), 1)) as image:
        pass
    with pytest.raises(DataError, match=r"^1.png: not an image that can be read \(.*\); open it anew$"):
        trained.predict(image)
    for images, kind, message in WRONG:
        with pytest.raises(kind) as raised:
            trained.predict(images)
        assert str(raised.value).startswith(message)
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images in this folder; give a folder with files that end in .png"):
        trained.predict("empty")
    for top in (0, -1, 1.5):
        with pytest.raises(ArgumentError, match=f"predict: top must be an int >= 1, got {top}"):
            trained.predict("gone.png", top=top)  # type: ignore[arg-type]


def test_a_run_that_is_not_there_is_told_with_what_to_give(digits: Path, photos: Path) -> None:
    for place, message in {
        "no/such": "no/such: no run there (no config.json); give the folder that gpucnn train made",
        digits.parent: f"{digits.parent}: no run there (no config.json); give the folder that gpucnn train made, e.g. {digits}",
        digits
        / "model.safetensors": f"{digits}/model.safetensors: a file, not the folder of a run; give that, e.g. {digits}",
    }.items():
        with pytest.raises(RunError) as raised:
            gpucnn.load(place)
        assert str(raised.value) == message
    with pytest.raises(ArgumentError, match="unknown device 'tpu'"):
        gpucnn.load(digits, device="tpu")


def test_it_says_what_it_is(digits: Path, photos: Path) -> None:
    trained = gpucnn.load(digits, device="cpu")
    what = f"TrainedRun({str(digits)!r}: mlp, 10 classes, images 28x28 grey, cpu; weights: "
    assert repr(trained) == f"{what}last, of model.safetensors)"
    assert repr(gpucnn.load(digits, weights="best", device="cpu")).startswith(
        f"{what}best, of epoch 1 (test accuracy 0."
    )
    assert trained.class_names == tuple("0123456789")
    assert gpucnn.load(photos).preprocess.mean is not None
    with pytest.raises(ArgumentError, match='weights must be "best" or "last", got \'worst\''):
        gpucnn.load(digits, weights="worst")


def test_a_notebook_has_its_classes_and_its_layers(photos: Path) -> None:
    trained = gpucnn.load(photos)
    trained.class_names = ("<script>alert(1)</script>", "b")
    shown = Page(trained._repr_html_())
    shown.check_harmless()
    assert shown.texts[0] == repr(trained)
    assert "classes: <script>alert(1)</script>, b" in shown.texts
    assert shown.rows == Page(trained.model._repr_html_()).rows


def test_it_is_imported_when_it_is_asked_for() -> None:
    code = "import gpucnn, sys; assert 'gpucnn.runs' not in sys.modules; gpucnn.load; assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert "load" in dir(gpucnn)


def test_a_raw_array_of_a_data_set_that_counts_to_less_is_noticed(digits: Path) -> None:
    trained, raw = gpucnn.load(digits), data.load("digits").test.images[:3]
    assert raw.max() == 16
    with pytest.warns(
        UserWarning, match=r"the image goes no higher than 16 of 255, as raw arrays of digits do; np\.rint\("
    ):
        trained.predict(raw[0])
    with pytest.warns(UserWarning, match=r"images\[0\] is the first of 3 that go no higher than 16 of 255"):
        trained.predict(list(raw))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(list(np.rint(raw * (255 / 16)).astype("uint8")))
        trained.predict(np.zeros((8, 8), np.uint8))
