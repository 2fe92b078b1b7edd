"""The page of a report: its figures are those of evaluate, its images those of the data set, and nothing is taken for HTML."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import Tensor, data, explain, no_grad
from gpucnn.cli.commands import parse
from gpucnn.cli.main import main
from gpucnn.cli.settings import chosen_config
from gpucnn.errors import RunError
from gpucnn.layers import Conv2d, Sequential
from gpucnn.report import facts, write_report
from gpucnn.report import inside as inside_module
from gpucnn.report import report as report_module
from gpucnn.report.chosen_images import choose_images
from gpucnn.report.facts import calibration_text
from gpucnn.report.page import page
from gpucnn.report.pictures import Picture
from gpucnn.report.report import contents
from gpucnn.report.run_in_hand import RunInHand
from gpucnn.report.shown_images import ShownImages
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import resolve
from gpucnn.training import RunFolder, evaluate
from tests.cli.test_changed_folder import write_noise
from tests.report.made_samples import made_samples
from tests.report.pages import Page
from tests.runs import tiny_run
from tests.training.test_evaluate import Fixed, loader_of

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "</script><b>",
    "a\nb",
    "'",
    "&lt;b&gt;",
    "\u202e",
    "Ä" * 90,
    "9",
)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not drawn: what they show, their own tests tell."""
    for module in (report_module, inside_module):
        monkeypatch.setattr(module, "embedded", lambda draw: Picture("data:,", SCRIPT, 1, 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 after an epoch, with its report: some 50 of 360 are wrong."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = f"train --epochs 1 --device cpu --quiet --report --out {folder}"
    assert main(words.split()) == 0
    return folder


@pytest.fixture(scope="module")
def report(run: Path) -> Page:
    return Page(run / "report.html")


@pytest.fixture(scope="module")
def answers(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (360, 1, 32, 32), labels and answers, by a pass of its own."""
    images, labels = data.load("digits", image_size=32).test[:]
    with no_grad():
        scores = RunFolder(run).load_model()(Tensor(images)).numpy()
    return np.asarray(images), np.asarray(labels), scores.argmax(axis=1)


@pytest.fixture(scope="module")
def measured(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What evaluate writes."""
    file = tmp_path_factory.mktemp("found") / "found.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--json", str(file), "--worst", "360"]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_figures_are_those_of_evaluate(report: Page, measured: dict[str, Any]) -> None:
    accuracy, low, high = report.values["result"]
    assert accuracy == measured["accuracy"]
    assert low < accuracy < high
    shown = report.shown("result")
    assert f"{100 * accuracy:.1f} %" in shown
    assert f"Loss {measured['loss']:.4f}" in shown
    assert f"Wrong {measured['total'] - measured['correct']}" in shown
    assert "Learned from 1,437 images" in shown
    assert f"it answers {measured['correct']} right" in report.shown("")
    assert report.raw["title"] == [f"lenet5 on digits: {100 * accuracy:.1f} %"]


def test_the_matrix_has_the_counts(report: Page, measured: dict[str, Any]) -> None:
    header, *rows = report.rows["confusions"]
    assert header.cells[1:] == list("0123456789")
    assert [[int(cell or 0) for cell in row.cells[1:]] for row in rows] == measured["confusion"]
    assert [row.cells[0] for row in rows] == list("0123456789")


def test_the_classes_have_their_shares(report: Page, measured: dict[str, Any]) -> None:
    _, *rows, mean = report.rows["classes"]
    expected = [[one["precision"], one["recall"], one["f1"], one["images"]] for one in measured["classes"]]
    assert [row.values for row in rows] == expected
    assert mean.values == list(measured["macro_average"].values())


def test_every_mistake_is_there(report: Page, answers: tuple[np.ndarray, ...]) -> None:
    _, labels, answered = answers
    wrong = np.flatnonzero(labels != answered)
    told = [one for one in report.data["images"] if one[0] != one[1]]
    assert sorted(one[4] for one in told) == sorted(f"image {index}" for index in wrong)
    cells = Counter((int(label), int(answer)) for label, answer in zip(labels[wrong], answered[wrong], strict=True))
    assert Counter((label, answer) for label, answer, *_ in told) == cells
    assert {one[0] for one in report.data["images"] if one[0] == one[1]} == set(labels[labels == answered])


def test_the_images_are_those_of_the_data_set(report: Page, answers: tuple[np.ndarray, ...]) -> None:
    images, *_ = answers
    found = report.data
    sheets = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) for uri in found["sheets"]["uris"]
    ]
    for place, (*_, name) in enumerate(found["images"]):
        sheet, number = divmod(place, found["per_sheet"])
        row, column = divmod(number, found["columns"])
        tile = sheets[sheet][row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        expected = np.rint(images[int(name.removeprefix("image "))][0].astype(np.float64) * 255)
        np.testing.assert_array_equal(tile, expected)


def test_the_worst_are_those_of_evaluate(report: Page, measured: dict[str, Any]) -> None:
    shown = report.shown("images")
    names = re.findall(r"image \d+", shown.partition("Least certain")[0])
    wrong = [one for one in measured["worst"] if one["label"] != one["answer"]]
    assert names == [f"image {one['index']}" for one in wrong[:24]]
    more = len(wrong) - 24
    said = f"The 24 mistakes of the highest loss, the highest first. There are {more} more: choose a number above to see them."
    assert more > 0
    assert said in shown
    worst = wrong[0]
    assert f"{worst['label']}, answered {worst['answer']}, {worst['probability']:.0%}".replace("%", " %") in shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (0, "There is no mistake. These are right answers, 6 of them, that had the highest loss."),
        (
            1,
            "The one mistake, that of the highest loss first, and then right answers, 5 of them, that had the highest loss.",
        ),
        (16, "All 16 mistakes, that of the highest loss first."),
        (30, "There are 6 more: choose a number above to see some of them."),
    ],
)
def test_which_images_the_worst_are_is_said(wrong: int, said: str) -> None:
    label = np.zeros(40, int)
    samples = made_samples(label, (np.arange(40) < wrong).astype(int), np.full(40, 0.5), np.arange(40.0))
    shown = SimpleNamespace(
        samples=samples, chosen=choose_images(samples), left_out_text="Of 30 mistakes 28 are in this file"
    )
    assert ShownImages.worst_text.fget(shown).endswith(said)  # type: ignore[attr-defined]


def test_the_weights_that_are_measured_are_told_beside_the_best_epoch(report: Page) -> None:
    assert "All that follows is measured with the weights of its last epoch, 1." in report.shown("learning")


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ((1, 8), " Blue is below zero, orange above."),
        ((3,), " Of those on colour images the colours are what they look for, and grey is zero."),
        ((3, 8), " Of those on colour images the colours are what they look for, and grey is zero. In the others blue is below zero, orange above."),
    ],
)  # fmt: skip
def test_what_the_colours_of_filters_mean(channels: tuple[int, ...], said: str) -> None:
    model = Sequential(*(Conv2d(count, 2, 1) for count in channels))
    assert inside_module._colours_text(model, [str(place) for place in range(len(channels))]) == said


def test_what_so_few_images_do_not_carry_is_not_said() -> None:
    logits = np.log([[0.6, 0.4]] * 40)
    labels = [0] * 20 + [1] * 20
    found = SimpleNamespace(found=evaluate(Fixed(), loader_of(logits, labels)))
    assert calibration_text(found) == (  # type: ignore[arg-type]
        "Whether the model is too sure of its answers cannot be told from 40 images: the mean probability of its answers is 60.0 %, "
        "and 50.0 % of them are right (95 % interval: 35.2 % to 64.8 %). Expected calibration error: 0.1000."
    )


def test_each_mistake_has_where_the_model_looked(run: Path, report: Page, answers: tuple[np.ndarray, ...]) -> None:
    images, labels, answered = answers
    looks = report.data["looks"]
    wrong = int((labels != answered).sum())
    assert len(looks["places"]) == min(wrong, 60)
    assert "Grad-CAM" in report.shown("images")
    first = looks["places"][0]
    index = int(report.data["images"][first][4].removeprefix("image "))
    heat = explain.grad_cam(RunFolder(run).load_model(), images[index], int(answered[index]))
    uri = looks["uris"][0].partition(",")[2]
    tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"), float)[:32, :32]
    plain = np.repeat(images[index][0][..., None], 3, axis=2) * 255
    change = np.abs(tile - plain).mean(axis=2)
    assert change[heat > 0.5].mean() > 4 * change[heat < 0.02].mean(), "colour is where the heat is"


def test_nothing_is_asked_of_any_network(report: Page) -> None:
    for name, attributes in report.tags:
        for attribute in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(attribute, "#")
            assert value.startswith(("#", "data:")), f"{name} {attribute}={value[:80]}"
        assert not [one for one in attributes if one.startswith("on") or one == "style"], name
    assert "url(" not in report.raw["style"][0]
    assert "@import" not in report.raw["style"][0]
    targets = {attributes["id"] for _, attributes in report.tags if "id" in attributes}
    links = {attributes["href"] for name, attributes in report.tags if name == "a"}
    assert links <= {f"#{one}" for one in targets}
    assert len(report.content.encode()) < 1_000_000


def test_the_policy_lets_in_this_style_and_this_script_alone(report: Page) -> None:
    (policy,) = [
        tag.attributes["content"]
        for tag in report.tags
        if tag.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": digest(report.raw["style"][0]),
        "script-src": digest(report.raw["script"][1]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_command_asks_for_the_run(run: Path, report: Page) -> None:
    command = re.search(r"gpucnn train[^\n]*", report.text["again"])
    assert command
    asked = resolve(chosen_config(parse(shlex.split(command[0])[1:])))
    assert asked == RunConfig.from_run(RunFolder(run).read_config(), "")
    assert f"gpucnn predict {run} image.png" in report.shown("again")
    rows = {row.cells[0]: row.cells[-1] for row in report.rows["settings"]}
    assert (rows["epochs"], rows["optimizer"], rows["augment"], rows["lr"]) == ("1", "adam", "shift:2", "0.003")
    assert rows["numpy"] == np.__version__


def test_the_layers_are_those_of_the_model(report: Page) -> None:
    rows = {row.cells[0]: row.cells[1:] for row in report.rows["model"]}
    assert rows["conv2"] == ["Conv2d", "16 x 10 x 10", "2,416", "240,000"]
    assert rows["together"][-2] == "61,706"


@pytest.mark.usefixtures("without_pictures")
def test_names_are_shown_as_they_are(run: Path, tmp_path: Path) -> None:
    """Names that are HTML, templates, scripts, or control characters."""
    folder = tmp_path / "'\"><b>run"
    shutil.copytree(run, folder)
    found = RunInHand.measure(RunFolder(folder), None, None, "cpu")
    found.trained.class_names = HOSTILE
    loader = data.DataLoader(found.measured.images, 256)
    found = dataclasses.replace(found, found=evaluate(found.trained.model, loader, HOSTILE))
    file = tmp_path / "page.html"
    file.write_bytes(page(contents(found)))
    shown = Page(file)
    assert [tag.name for tag in shown.tags].count("script") == 2
    assert {tag.attributes["src"][:5] for tag in shown.tags if tag.name == "img"} == {"data:"}
    assert SCRIPT in {tag.attributes["alt"] for tag in shown.tags if tag.name == "img"}
    assert {tag.name for tag in shown.tags} <= {tag.name for tag in Page(run / "report.html").tags}
    assert not [tag for tag in shown.tags if any(name.startswith("on") for name in tag.attributes)]
    names = [row.cells[0] for row in shown.rows["classes"][1:-1]]
    expected = [*HOSTILE[:4], "a\\nb", "'", "&lt;b&gt;", "\\u202e", "Ä" * 90, "9"]
    assert names == expected
    assert shown.data["names"] == expected
    clipped = {tag.attributes["title"] for tag in shown.tags if "clipped" in tag.attributes.get("class", "")}
    assert clipped <= {*expected}, "the whole name is there where its letters do not fit"
    assert clipped
    assert shown.raw["script"][0].count("<") == 0
    assert f"gpucnn.load({str(folder)!r})" in shown.text["again"]


def test_of_damaged_settings_and_rows_no_more_is_said_than_is_known(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(run, tmp_path / "run"))
    folder.summary_file.unlink()
    config = folder.read_config()
    whole = facts.rows(RunInHand.measure(folder, "last", None, "cpu"))
    folder.config_file.write_text(json.dumps({**config, "augment": 5, "validation": "x", "epochs": None}))
    folder.metrics_file.write_text("no rows\n")
    found = RunInHand.measure(folder, "last", None, "cpu")
    rows = {row.name: row for row in facts.rows(found)}
    assert [row for row in whole if row.name not in ("Weights", "Learned from", "Time")] == [
        row for row in rows.values() if row.name not in ("Weights", "Time")
    ]
    assert rows["Weights"] == ("Weights", "the last", "")
    assert rows["Time"].note == "on cpu"
    assert "Learned from" not in rows
    assert facts.unfinished(found).startswith("This run has not finished. What follows is what it had learned so far;")
    assert next(command.text for command in facts.commands(found)) == "Go on with it:"
    assert "None" not in facts.sentence(found)


@pytest.mark.usefixtures("without_pictures")
def test_files_are_named_and_a_model_without_maps_says_so(in_tmp_path: Path) -> None:
    write_noise(Path("photos"), 10, names=("<i>cat", "dog & 'co"))
    for path in Path("photos").glob("dog*/*"):
        path.rename(path.with_name(f'"{path.stem}"\n<img src=x>.bmp'))
    words = "train --data folder --data-dir photos --model mlp --image-size 8 --batch-size 8 --epochs 1 --quiet --out run --device cpu"
    assert main(words.split()) == 0
    assert write_report("run", "there.html", device="cpu") == Path("there.html")
    found = Page(Path("there.html"))
    (file,) = Path("run").glob("images-*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    names = {row["file"].replace("\n", "\\n") for row in rows if row["part"] == "test"}
    assert {one[4] for one in found.data["images"]} == names
    assert "Where the model looked is not shown: " in found.shown("images")
    assert "mlp on photos" in found.shown("")
    assert len([tag for tag in found.tags if tag.name == "img" and tag.attributes.get("src") == "x"]) == 0


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_was_killed_says_how_far_it_came(tmp_path: Path) -> None:
    with tiny_run.tiny_names():
        folder = tiny_run.train(tmp_path / "run", until=tiny_run.BATCHES + 2)
        found = Page(write_report(folder.path, device="cpu"))
        assert "This run has not finished. What follows is what it had learned after 1 of 3 epochs" in found.shown("")
        assert f"gpucnn train --resume {folder.path}" in found.shown("again")


def test_a_run_without_a_finished_epoch_has_no_report(tmp_path: Path) -> None:
    with tiny_run.tiny_names():
        folder = tiny_run.train(tmp_path / "run", until=2, checkpoint_every=1)
        with pytest.raises(RunError, match="model.safetensors: no such model file; train first"):
            write_report(folder.path, device="cpu")
    assert not folder.report_file.exists()
