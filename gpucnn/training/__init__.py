"""Training: the loop, its callbacks, metrics, and, from `gpucnn.runs`, the folder a run is kept in."""

import importlib
from typing import TYPE_CHECKING

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.files.checkpoint_file import Checkpoint as Checkpoint
from gpucnn.files.checkpoint_file import load_checkpoint as load_checkpoint
from gpucnn.files.checkpoint_file import save_checkpoint as save_checkpoint
from gpucnn.training.calibration import Calibration as Calibration
from gpucnn.training.calibration import calibration as calibration
from gpucnn.training.callback import Callback as Callback
from gpucnn.training.captured_step import CapturedStep as CapturedStep
from gpucnn.training.confusion import ConfusionMatrix as ConfusionMatrix
from gpucnn.training.early_stopping import EarlyStopping as EarlyStopping
from gpucnn.training.evaluate import Evaluation as Evaluation
from gpucnn.training.evaluate import evaluate as evaluate
from gpucnn.training.find_lr import RangeTest as RangeTest
from gpucnn.training.find_lr import find_lr as find_lr
from gpucnn.training.freeze_after import FreezeAfter as FreezeAfter
from gpucnn.training.metrics import Metrics as Metrics
from gpucnn.training.metrics import in_top_k as in_top_k
from gpucnn.training.progress import ProgressBar as ProgressBar
from gpucnn.training.progress import ProgressLines as ProgressLines
from gpucnn.training.samples import Sample as Sample
from gpucnn.training.samples import Samples as Samples
from gpucnn.training.trainer import Trainer as Trainer

if TYPE_CHECKING:
    from gpucnn.runs.config import RunConfig as RunConfig
    from gpucnn.runs.failure_file import FailureRecorder as FailureRecorder
    from gpucnn.runs.failure_file import replay as replay
    from gpucnn.runs.folder import RunFolder as RunFolder
    from gpucnn.runs.list import list_runs as list_runs
    from gpucnn.runs.logs import CSVLog as CSVLog
    from gpucnn.runs.logs import TensorBoardLog as TensorBoardLog
    from gpucnn.runs.prepare import prepare as prepare
    from gpucnn.runs.prepared_run import PreparedRun as PreparedRun
    from gpucnn.runs.resume import ResumedRun as ResumedRun
    from gpucnn.runs.resume import resume as resume
    from gpucnn.runs.writers import CheckpointWriter as CheckpointWriter
    from gpucnn.runs.writers import RunRecorder as RunRecorder

_IN_RUNS = {
    "RunConfig": "config", "PreparedRun": "prepared_run", "prepare": "prepare", "RunFolder": "folder", "list_runs": "list",
    "RunRecorder": "writers", "CheckpointWriter": "writers", "CSVLog": "logs", "TensorBoardLog": "logs",
    "ResumedRun": "resume", "resume": "resume", "FailureRecorder": "failure_file", "replay": "failure_file",
}  # fmt: skip
"""Names of `gpucnn.runs`, which is built on this package and so can be imported only when one of them is asked for."""


def __getattr__(name: str) -> object:
    if name not in _IN_RUNS:
        raise _unknown_name("training", name, __all__)
    found = getattr(importlib.import_module(f"gpucnn.runs.{_IN_RUNS[name]}"), name)
    globals()[name] = found
    return found


__all__ = _public_names(globals(), "Checkpoint", "load_checkpoint", "save_checkpoint", *_IN_RUNS)


def __dir__() -> list[str]:
    return __all__
