"""A run as the page takes it: what is told of it, and texts of users that cannot break out of the script."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.play.browser_model import browser_model, json_for_script
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.trained_run import TrainedRun, Weights

ROWS = [
    {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.0, "test_accuracy": 0.75},
    {"epoch": 2, "train_loss": 0.9, "train_accuracy": 0.6, "test_loss": 1.0, "test_accuracy": 0.5},
]
HOSTILE = ("<script>alert(1)</script>", "</script><!--", "\u2028 \u2029 \\u003c & \"'`${1}", "Fuß\0")


def run_with(tmp_path: Path, class_names: tuple[str, ...] = HOSTILE) -> TrainedRun:
    """What `gpucnn train` leaves after two epochs."""
    create = {"name": "lenet5", "num_classes": len(class_names), "in_channels": 1, "image_size": 32}
    model = models.create(**create)
    preprocess = Preprocess(1, 28, 32, 255, "pad", mean=(0.25,), std=(0.5,))
    config = {"create": create, "data": "mnist", "class_names": list(class_names), "preprocess": {
        "channels": 1, "native_size": 28, "image_size": 32, "full_scale": 255, "fit": "pad", "mean": [0.25], "std": [0.5],
    }}  # fmt: skip
    folder = RunFolder(tmp_path / "a-run")
    folder.prepare()
    for epochs in (1, 2):
        folder.add_epoch(model, config, ROWS[:epochs], 1.0)
    return TrainedRun(model, preprocess, class_names, config, Weights("last", folder.model_file, {}))


def test_what_the_page_is_told_of_a_run(tmp_path: Path) -> None:
    trained = run_with(tmp_path)
    found = browser_model(trained)
    assert (found["name"], found["parameters"], found["is_light_on_dark"]) == ("lenet5", 61196, True)
    assert found["class_names"] == list(HOSTILE)
    assert json.loads(json.dumps(found["preprocess"])) == trained.config["preprocess"]
    assert found["facts"] == {
        "run": "a-run", "data": "mnist", "epochs": 2, "weights": "last, of model.safetensors", "accuracy": 0.5, "accuracy_of": "test",
    }  # fmt: skip
    trained.weights = Weights("best", tmp_path / "a-run" / "best.safetensors", ROWS[0])
    facts = browser_model(trained)["facts"]
    assert (facts["accuracy"], facts["accuracy_of"]) == (0.75, "test")
    assert facts["weights"] == "best, of epoch 1 (test accuracy 0.7500)"
    trained.config |= {"data": "folder", "data_dir": "/my/<b>dogs"}
    assert browser_model(trained)["facts"]["data"] == "<b>dogs"


def test_the_accuracy_of_other_weights_than_the_runs_result_is_not_told(tmp_path: Path) -> None:
    trained = run_with(tmp_path)
    folder = RunFolder(tmp_path / "a-run")
    validated = [
        {name.replace("test", "val"): value for name, value in row.items()} | {"test_accuracy": 0.1} for row in ROWS
    ]
    folder.add_epoch(trained.model, trained.config, validated[:1], 1.0)
    assert folder.weights().name == "best"
    assert browser_model(trained)["facts"]["accuracy"] is None


def test_texts_of_users_cannot_end_a_script() -> None:
    text = json_for_script({"class_names": HOSTILE})
    assert text.isascii()
    assert not set("<>&\n\r") & set(text)
    assert json.loads(text) == {"class_names": list(HOSTILE)}


@pytest.mark.parametrize("value", [np.nan, float("inf")])
def test_numbers_that_json_has_not_are_no_script(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([value])
