"""The page's files, without a browser: what is in them, the run that comes with gpucnn, and writing them to a folder."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import data, training
from gpucnn.backend import choose_device
from gpucnn.data import DataLoader
from gpucnn.errors import ArgumentError
from gpucnn.play.chapter_examples import chapter_examples
from gpucnn.play.export import export
from gpucnn.play.page import DRAWN, SCRIPTS, page_files
from gpucnn.play.ready_run import FILES, ready_run
from gpucnn.play.sample_images import sample_images

PLAY = Path(gpucnn.__file__).parent / "play"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with ready_run() as run:
        trained = run.load(choose_device("cpu").device)
        samples, why_not = sample_images(run, trained)
        assert why_not == ""
        return page_files(trained, samples)


def shown(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """MODELS of models.js."""
    found: list[dict[str, Any]] = json.loads(
        re.fullmatch(r'"use strict";\nconst MODELS = (.*);\n', files["models.js"].decode())[1]
    )  # type: ignore[index]
    return found


def test_the_run_that_comes_along_is_as_good_as_it_says() -> None:
    with ready_run() as run:
        trained = run.load(choose_device("cpu").device)
        said = json.loads(run.summary_file.read_text())
    splits = data.load("digits", image_size=32)
    found = training.evaluate(trained.model, DataLoader(splits.test, 256), trained.class_names)
    assert (found.correct, found.total) == (said["test_correct"], said["test_total"])
    assert found.accuracy > 0.99


def test_the_run_that_comes_along_says_nothing_of_the_machine_it_was_trained_on() -> None:
    folder = PLAY / "lenet5-digits"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for path in folder.iterdir():
        assert re.search(rb"/(home|root|tmp|work|Users)\b", path.read_bytes()) is None
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


def test_the_page_has_all_that_it_asks_for(files: dict[str, bytes]) -> None:
    html = files["index.html"].decode()
    asked = re.findall(r'<script src="([^"]+)"|<link rel="stylesheet" href="([^"]+)"', html)
    assert {script or style for script, style in asked} == set(files) - {"index.html"}
    assert "http://" not in html
    assert "https://" not in html


def test_no_two_scripts_give_a_name_to_two_things() -> None:
    """They share one scope, and the later one would win without a word."""
    names = [
        name
        for script in (*SCRIPTS, "worker.js", "network.js")
        for name in re.findall(r"^(?:async function|function|class|const|let) (\w+)", (PLAY / script).read_text(), re.M)
    ]
    on_page = [name for script in SCRIPTS for name in re.findall(r"^(?:async function|function|class|const|let) (\w+)", (PLAY / script).read_text(), re.M)]  # fmt: skip
    assert sorted(set(on_page)) == sorted(on_page)
    assert len(names) > len(on_page)


def test_texts_are_never_taken_for_markup() -> None:
    for script in PLAY.glob("*.js"):
        assert (
            re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script.read_text()
            )
            is None
        )


def test_samples_are_test_images_one_of_each_class(files: dict[str, bytes]) -> None:
    test = data.load("digits").test
    samples = shown(files)[0]["samples"]
    assert [sample["label"] for sample in samples] == [str(digit) for digit in range(10)]
    for sample in samples:
        index = int(sample["name"].removeprefix("test image "))
        raw = np.frombuffer(base64.b64decode(sample["raw"]), np.uint8).reshape(1, 8, 8)
        np.testing.assert_array_equal(raw, test.images[index])
        assert str(test.labels[index]) == sample["label"]


def test_examples_are_the_chapter_s() -> None:
    sharpen, edges, pooling = (
        example.layer(example.image[None].astype(np.float32)).numpy()[0, 0] for example in chapter_examples()
    )
    assert (sharpen[0, 0], sharpen[1, 1]) == (7, 13)
    np.testing.assert_array_equal(
        edges, gpucnn.convolve2d(np.arange(1.0, 17).reshape(4, 4), np.array([[-1.0, 0, 1]] * 3))
    )
    np.testing.assert_array_equal(pooling, [[7, 8], [15, 16]])


def test_only_writing_has_a_way_to_be_written() -> None:
    assert set(DRAWN) <= set(data.names())


def test_an_export_is_replaced_by_another_and_by_nothing_else(files: dict[str, bytes], tmp_path: Path) -> None:
    place = tmp_path / "new" / "page"
    assert export(files, place) == place / "index.html"
    assert {path.name: path.read_bytes() for path in place.iterdir()} == files
    export({**files, "page.css": b"b{}"}, place)
    assert (place / "page.css").read_bytes() == b"b{}"
    (place / "thesis.txt").write_text("all of it")
    with pytest.raises(ArgumentError) as raised:
        export(files, place)
    assert str(raised.value) == f"{place}: holds other things, e.g. thesis.txt; give a folder that is new or empty"
    assert (place / "page.css").read_bytes() == b"b{}"
    with pytest.raises(ArgumentError) as raised:
        export(files, place / "thesis.txt")
    assert str(raised.value) == f"{place / 'thesis.txt'}: a file, not a folder; give a folder that is new or empty"


def test_an_export_that_was_killed_is_made_again(files: dict[str, bytes], tmp_path: Path) -> None:
    left, other = tmp_path / ".index.html.4711.part", tmp_path / ".thesis.txt.4711.part"
    left.write_bytes(b"half of it")
    export(files, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    left.write_bytes(b"half of it")
    other.write_bytes(b"half of it")
    with pytest.raises(ArgumentError) as raised:
        export(files, tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: holds other things, e.g. {other.name}; ")
    assert left.exists()


def test_an_export_follows_no_link_to_nothing(files: dict[str, bytes], tmp_path: Path) -> None:
    link = tmp_path / "page"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(ArgumentError) as raised:
        export(files, link)
    assert str(raised.value) == f"{link}: a link to what is not there; give a folder that is new or empty"
    (tmp_path / "gone").mkdir()
    assert export(files, link) == link / "index.html"
