"""Training: the loop, its callbacks, metrics, and the folder a run is kept in."""

from gpucnn.training.callback import Callback as Callback
from gpucnn.training.checkpoint import Checkpoint as Checkpoint
from gpucnn.training.checkpoint import load_checkpoint as load_checkpoint
from gpucnn.training.checkpoint import save_checkpoint as save_checkpoint
from gpucnn.training.checkpoint_writer import CheckpointWriter as CheckpointWriter
from gpucnn.training.confusion import ConfusionMatrix as ConfusionMatrix
from gpucnn.training.csv_log import CSVLog as CSVLog
from gpucnn.training.early_stopping import EarlyStopping as EarlyStopping
from gpucnn.training.evaluate import Evaluation as Evaluation
from gpucnn.training.evaluate import evaluate as evaluate
from gpucnn.training.metrics import Metrics as Metrics
from gpucnn.training.prepare import PreparedRun as PreparedRun
from gpucnn.training.prepare import prepare as prepare
from gpucnn.training.progress import ProgressBar as ProgressBar
from gpucnn.training.progress import ProgressLines as ProgressLines
from gpucnn.training.resume import ResumedRun as ResumedRun
from gpucnn.training.resume import resume as resume
from gpucnn.training.run_config import RunConfig as RunConfig
from gpucnn.training.run_folder import RunFolder as RunFolder
from gpucnn.training.run_folder import RunRecorder as RunRecorder
from gpucnn.training.run_list import list_runs as list_runs
from gpucnn.training.tensorboard_log import TensorBoardLog as TensorBoardLog
from gpucnn.training.top_k import in_top_k as in_top_k
from gpucnn.training.trainer import Trainer as Trainer
