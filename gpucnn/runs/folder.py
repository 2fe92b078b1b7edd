"""The folder that a training run is kept in.

config.json           what was asked for, and what the model needs to be built and fed again
images-1a2b....jsonl  of images in files: which ones it learns from and is measured on, see `ImageList`
network-3c4d....onnx  of a network from an ONNX file: a copy of that, see `OnnxCopy`
metrics.jsonl         one line for every finished epoch; the same run writes the same lines
times.jsonl           how long each of them took; of an epoch that was resumed, its last part
model.safetensors     the parameters after the last finished epoch
best.safetensors      those of the best epoch, see `is_better`, with its row of the metrics
checkpoints/          the newest states to go on from, see `CheckpointFolder`
failure-step-41...    a step whose loss or gradient was not finite, see `FailureRecorder`
summary.json          how it ended; only there when the run has finished
report.html           what came of it, to look at, once `gpucnn report` was asked for it
gpucnn.lock           which process writes here at this moment, see `RunLock`
"""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.atomic_file import remove_parts, telling_of, write_atomically
from gpucnn.backend import Device
from gpucnn.checks import as_path
from gpucnn.data import Preprocess
from gpucnn.errors import ArgumentError, GpucnnError, RunError
from gpucnn.files.checkpoint_file import CheckpointFolder, save_checkpoint
from gpucnn.files.model_file import save_model
from gpucnn.layers import Layer
from gpucnn.regular_file import read_regular
from gpucnn.runs.image_list import ENTRY, ImageList
from gpucnn.runs.kept_weights import BEST, LAST, BestWeights, check_wanted, model_in
from gpucnn.runs.lock import NAME as LOCK
from gpucnn.runs.lock import LockOfAnother, RunLock
from gpucnn.runs.network import COPY, OnnxCopy, is_onnx
from gpucnn.runs.trained_run import TrainedRun, Weights
from gpucnn.text_table import LONGEST, shortened
from gpucnn.training.best_epoch import judged_by


class RunFolder:
    """One run's files under `path`.

    An earlier run there stays until the first model or checkpoint of a new one is written; `go_on` adds to the earlier run
    instead.

    Whoever writes there holds `lock` meanwhile, as the callbacks do that keep a run. They share one RunFolder, which makes
    the folder ready once for all of them. `images` are the files that the run which is written learns from, which its
    config's entry "images" names; None if its images are not files. `network` is the ONNX file that its model is of; None for
    a model by name.

    - `is_written`: False for a process that has its run kept by another one, and reads alone: it needs no lock.
    """

    def __init__(self, path: str | os.PathLike[str], is_written: bool = True) -> None:
        self.path = as_path(path, "RunFolder: path")
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.times_file = self.path / "times.jsonl"
        self.model_file = self.path / "model.safetensors"
        self.best_model_file = self.path / "best.safetensors"
        self._best = BestWeights(self.best_model_file, self.metrics_file)
        self.checkpoints = CheckpointFolder(self.path / "checkpoints")
        self.summary_file = self.path / "summary.json"
        self.report_file = self.path / "report.html"
        self.is_written = is_written
        self.lock = RunLock(self.path) if is_written else LockOfAnother(self.path)
        self.images: ImageList | None = None
        self.network: OnnxCopy | None = None
        self._is_ready = self._is_ours = False
        self._writers = 0

    @classmethod
    def next_in(cls, parent: Path, name: str) -> "RunFolder":
        """Make the first of parent/name-1, parent/name-2, ... that is not there yet: no other process gets the same one.

        Raises RunError if it cannot be made.
        """
        for number in itertools.count(1):
            path = parent / f"{name}-{number}"
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not parent.is_dir():
                    raise RunError(_no_place(path, "File exists")) from None
            except OSError as error:
                raise RunError(_no_place(path, error.strerror)) from None
        return cls(path)

    def prepare(self) -> None:
        """Make the folder, and see that a run can be written there. What a killed process left half written is removed.

        Once: later calls do nothing. Raises RunError if the folder cannot be written, is in use, or holds files that are no
        run of gpucnn.
        """
        if self._is_ready:
            return
        try:
            with self.lock:
                if any(LOCK not in path.name for path in self.path.iterdir()) and not self.checkpoints.files():
                    self._check_that_it_is_a_run()
                remove_parts(self.path)
                remove_parts(self.checkpoints.path)
                write_atomically(self.path / ".writable", b"")
                (self.path / ".writable").unlink()
        except OSError as error:
            raise RunError(_no_place(self.path, error.strerror)) from None
        self._is_ready = True

    @contextmanager
    def writing(self, step: int, history: Sequence[Mapping[str, float]], config: dict[str, Any]) -> Iterator[None]:
        """Inside, the folder is locked. The first of several writers at one time also calls `go_on`, if `step` is above 0."""
        with self.lock:
            if step and not self._writers:
                self.go_on(step, history, config)
            self._writers += 1
            try:
                yield
            finally:
                self._writers -= 1

    def check_begun(self) -> None:
        """RunError unless there is a run, of which there may be no more than a checkpoint."""
        if not self.checkpoints.files():
            self.read_config()

    def go_on(self, step: int, history: Sequence[Mapping[str, float]], config: dict[str, Any]) -> None:
        """Add to the run that is there, from its state after `step` steps, with this history; what came later is dropped."""
        self._is_ours = True
        self.checkpoints.go_on(step)
        self._best.go_on(history)
        for path in (self.summary_file, self.report_file):
            path.unlink(missing_ok=True)
        _write_json(self.config_file, config)
        self._write_lines(self.metrics_file, history)
        self._write_times(self.read_times(), len(history))

    def add_epoch(
        self, model: Layer, config: dict[str, Any], history: Sequence[Mapping[str, float]], seconds: float
    ) -> None:
        """Keep the model after a finished epoch, the last row of `history`, in place of that of an earlier one.

        `config`'s entry "create" has the model's arguments. Each file is replaced whole; if one cannot be written, the
        others stay readable. Raises RunError if one cannot be written, and ValueError, before any is, if the history has what
        JSON has not.
        """
        json.dumps(history, allow_nan=False)
        with telling_of(self.path):
            self._announce(config)
            save_model(self.model_file, model, config["create"])
            self._take_over(config, self.model_file)
            self._best.keep(model, config["create"], history[-1])
            self._write_lines(self.metrics_file, history)
            self._write_times(self.read_times() | {len(history): seconds}, len(history))

    def add_checkpoint(
        self, step: int, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], config: dict[str, Any], keep: int
    ) -> Path:
        """Keep a state to go on from, and `keep` in all; its file. RunError if it cannot be written."""
        with telling_of(self.path):
            self._announce(config)
            path = self.checkpoints.save(step, arrays, values, config, keep)
            self._take_over(config, path)
        return path

    def add_failure(
        self, step: int, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], config: dict[str, Any]
    ) -> Path:
        """Keep a step that failed, in the form of a checkpoint; its file. RunError if it cannot be written."""
        path = self.path / f"failure-step-{step}.safetensors"
        with telling_of(path):
            self._announce(config)
            save_checkpoint(path, arrays, values, config)
        return path

    def read_times(self) -> dict[int, float]:
        """The seconds that finished epochs took, by their number from 1; without those that are not known."""
        times: dict[int, float] = {}
        try:
            for line in read_regular(self.times_file).decode().splitlines():
                row = json.loads(line)
                times[int(row["epoch"])] = float(row["seconds"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass  # a run can do without its times
        return times

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one for every finished epoch. RunError if they are not as gpucnn writes them."""
        try:
            rows = [json.loads(line) for line in read_regular(self.metrics_file).decode().splitlines()]
        except FileNotFoundError:
            return []
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.metrics_file}: cannot be read ({error})") from None
        names = ("test_accuracy", "val_accuracy")
        if not all(isinstance(row, dict) and all(is_accuracy(row.get(name, 0.0)) for name in names) for row in rows):
            raise RunError(f"{self.metrics_file}: not lines of metrics as gpucnn train writes them")
        return rows

    def finish(self, summary: dict[str, Any]) -> None:
        """Write how the run ended. RunError if it cannot be written."""
        with telling_of(self.summary_file):
            _write_json(self.summary_file, summary)

    def read_config(self) -> dict[str, Any]:
        """The config of the run. RunError if the folder holds no run."""
        try:
            config = json.loads(read_regular(self.config_file).decode())
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.path}: {self._no_run()}") from None
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{self.config_file}: cannot be read ({reason})") from None
        needed = {"create": dict, "preprocess": dict, "class_names": list, "data": str}
        for key, kind in needed.items():
            if not isinstance(config, dict) or not isinstance(config.get(key), kind):
                raise RunError(f"{self.config_file}: no entry {key!r} as gpucnn train writes it")
        return dict(config)

    def test_total(self) -> int | None:
        """How many test images the run was measured on; None if it does not tell."""
        try:
            if not self.summary_file.exists():
                if self.read_config().get("validation"):
                    return None  # its epochs were measured on other images
                return int(json.loads(self.metrics_file.read_text(encoding="utf-8").splitlines()[-1])["test_total"])
            return int(json.loads(self.summary_file.read_text(encoding="utf-8"))["test_total"])
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
            return None

    def check_images(self, config: Mapping[str, Any]) -> None:
        """ArgumentError unless `images`, and the `network`, are those that the `config` of a run names."""
        create = config.get("create")
        named = create.get(COPY) if isinstance(create, dict) else None
        own = None if self.network is None else self.network.file_name
        if named != own:
            raise ArgumentError(
                f"the run's config names {named} as the file of its network, and its RunFolder has {own}; set the folder's network "
                f"to that of the PreparedRun, as its callbacks() does"
            )
        named, own = config.get(ENTRY), None if self.images is None else self.images.file_name
        if named != own:
            raise ArgumentError(
                f"the run's config names {named} as the list of its images, and its RunFolder has {own}; set the folder's images "
                f"to those of the PreparedRun, as its callbacks() does"
            )

    def read_images(self, config: Mapping[str, Any]) -> ImageList | None:
        """The images of the run, or of its checkpoint, with this `config`; None if it has no list of them.

        RunError if it has one which cannot be read.
        """
        name = config.get(ENTRY)
        if name is None:
            return None
        path = self.path / str(name)
        try:
            images = ImageList.from_text(read_regular(path).decode("utf-8"))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RunError(f"{path}: the list of the run's images cannot be read ({reason}); put it back") from None
        if images.file_name != name:
            raise RunError(f"{path}: not the list of the run's images (its content was changed); put it back")
        return images

    def weights(self, wanted: str | None = None) -> Weights:
        """Which weights of the run are the `wanted` ones, "best" or "last".

        By default the best, where epochs were measured on validation images or early stopping could end training; the best
        epoch on the test images, which a run without either has kept, too, is none to be told as a result, so there the last.

        ArgumentError for another word, RunError if the run has no best weights, or a file of them that cannot be read.
        """
        check_wanted(wanted)
        if wanted == LAST:
            return Weights(LAST, self.model_file, {})
        row = self._best.row()
        if wanted is None and not self._is_best_the_result(row):
            return Weights(LAST, self.model_file, {})
        if row is None:
            raise RunError(
                f"{self.best_model_file}: no such file; no epoch of the run was measured, or the file was removed; evaluate "
                f"and predict take the weights of the last epoch with --weights last"
            )
        return Weights(BEST, self.best_model_file, row)

    def load_model(self, weights: str | None = None) -> Layer:
        """The model with its parameters, on the CPU, in evaluation mode. `weights`: "best" or "last", see `weights`.

        RunError if it cannot be built from here.
        """
        return model_in(self.weights(weights).file)

    def _is_best_the_result(self, row: Mapping[str, Any] | None) -> bool:
        """Whether the best weights are what the run is trained for; `row` is that of their epoch."""
        if not self.config_file.exists():
            return False
        config = self.read_config()
        if config.get("early_stopping") is not None or config.get("validation"):
            return True
        if row:
            return judged_by(row) == "val"
        images = self.read_images(config)
        return images is not None and any(file.part == "validation" for file in images.files)

    def load_preprocess(self) -> Preprocess:
        """How raw images become the model's input. RunError if config.json does not say."""
        written = self.read_config()["preprocess"]
        try:
            return Preprocess(**written)
        except (TypeError, GpucnnError) as error:
            raise RunError(
                f"{self.config_file}: no valid entry 'preprocess' ({shortened(str(error), LONGEST)})"
            ) from None

    def load(self, device: Device, weights: str | None = None) -> TrainedRun:
        """The run as it was trained, its model on `device`, with its "best" or "last" weights, see `weights`.

        RunError if it cannot be read.
        """
        config = self.read_config()
        taken = self.weights(weights)
        model, preprocess = model_in(taken.file).to(device), self.load_preprocess()
        class_names = tuple(str(name) for name in config["class_names"])
        try:
            outputs = model.output_shape((1, preprocess.channels, preprocess.image_size, preprocess.image_size))[1]
        except ValueError as error:  # a ShapeError, or what NumPy says of sizes beyond all measure
            raise RunError(f"{self.config_file}: its preprocess does not fit the model ({error})") from None
        if len(class_names) != outputs:
            raise RunError(f"{self.config_file}: {len(class_names)} class_names, but the model has {outputs} outputs")
        return TrainedRun(model, preprocess, class_names, config, taken)

    def _no_run(self) -> str:
        """What is wrong with a place where no run is."""
        if self.path.is_file():
            if (self.path.parent / "config.json").is_file():
                return f"a file, not the folder of a run; give that, e.g. {self.path.parent}"
            if is_onnx(self.path.name):
                return (
                    "an ONNX file, not the folder of a run, as gpucnn train makes it; of such a file there are gpucnn predict, "
                    "gpucnn summary, gpucnn train --model, and gpucnn.load"
                )
            return (
                "a file, not the folder of a run, as gpucnn train makes it; weights go to "
                f"models.create(name, weights={str(self.path)!r}), or to models.read_weights for a net of your own"
            )
        runs = sorted(self.path.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
        example = f", e.g. {runs[-1].parent}" if runs else ""
        return f"no run there (no config.json); give the folder that gpucnn train made{example}"

    def _check_that_it_is_a_run(self) -> None:
        try:
            self.read_config()
        except RunError:
            raise RunError(f"{self.path}: holds files that are no run of gpucnn; choose another --out") from None

    def _announce(self, config: dict[str, Any]) -> None:
        """Write the config into a folder without a run first, so that what follows is known as part of one.

        And the list of images, and the network's file, in any case: from the first checkpoint on nothing that it needs may be
        missing.
        """
        if not self._is_ours and self.images is not None:
            write_atomically(self.path / self.images.file_name, self.images.text().encode())
        if not self._is_ours and self.network is not None:
            write_atomically(self.path / self.network.file_name, self.network.content)
        if not self._is_ours and not self.config_file.exists():
            _write_json(self.config_file, config)

    def _take_over(self, config: dict[str, Any], first_file: Path) -> None:
        """Once the first file of this run is there, remove what an earlier one left."""
        if self._is_ours:
            return
        files = (
            self.summary_file, self.report_file, self.metrics_file, self.times_file, self.model_file, self.best_model_file,
        )  # fmt: skip
        failures, lists = self.path.glob("failure-step-*.safetensors"), self.path.glob("images-*.jsonl")
        networks = self.path.glob("network-*.onnx")
        beside = [self.path / one.file_name for one in (self.images, self.network) if one is not None]
        kept = (first_file, *beside)
        for path in (
            *files,
            *self.checkpoints.files(),
            *failures,
            *lists,
            *networks,
        ):  # the last two are needed by the others
            if path not in kept:
                path.unlink(missing_ok=True)
        _write_json(self.config_file, config)
        self._is_ours = True

    def _write_times(self, times: Mapping[int, float], epochs: int) -> None:
        rows = [{"epoch": epoch, "seconds": times[epoch]} for epoch in range(1, epochs + 1) if epoch in times]
        self._write_lines(self.times_file, rows)

    @staticmethod
    def _write_lines(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
        if not rows:  # a run before the end of its first epoch has no such file
            path.unlink(missing_ok=True)
            return
        write_atomically(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())


def _no_place(path: Path, reason: str | None) -> str:
    return f"{path}: cannot write a run there ({reason}); choose another --out"


def is_accuracy(value: object) -> bool:
    """Whether a value of a file is an accuracy: a number from 0 to 1."""
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
