"""Training: the loop, its callbacks, metrics, and the folder a run is kept in."""

from gpucnn.training.callback import Callback as Callback
from gpucnn.training.checkpoint import Checkpoint as Checkpoint
from gpucnn.training.checkpoint import load_checkpoint as load_checkpoint
from gpucnn.training.checkpoint import save_checkpoint as save_checkpoint
from gpucnn.training.checkpoint_writer import CheckpointWriter as CheckpointWriter
from gpucnn.training.evaluate import evaluate as evaluate
from gpucnn.training.metrics import Metrics as Metrics
from gpucnn.training.prepare import PreparedRun as PreparedRun
from gpucnn.training.prepare import prepare as prepare
from gpucnn.training.progress import ProgressBar as ProgressBar
from gpucnn.training.progress import ProgressLines as ProgressLines
from gpucnn.training.run_config import RunConfig as RunConfig
from gpucnn.training.run_folder import RunFolder as RunFolder
from gpucnn.training.run_folder import RunRecorder as RunRecorder
from gpucnn.training.trainer import Trainer as Trainer
