"""A run, and what measuring it found: what a report is about."""

from dataclasses import dataclass
from pathlib import Path

from gpucnn import data
from gpucnn.backend import choose_device
from gpucnn.data.catalog import FOLDER
from gpucnn.errors import ConfigError
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import RunEntry, list_runs
from gpucnn.runs.measured_images import Measured, measured_images
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training.evaluate import Evaluation, evaluate

BATCH = 256


@dataclass(frozen=True, slots=True)
class RunInHand:
    """A run, and what measuring it found: what a report is about."""

    folder: RunFolder
    trained: TrainedRun
    entry: RunEntry
    measured: Measured
    place: Path
    """The folder of the data set."""
    found: Evaluation

    @classmethod
    def measure(cls, folder: RunFolder, weights: str | None, data_dir: str | None, device: str) -> "RunInHand":
        """The run in `folder`, measured as `gpucnn evaluate` does it."""
        trained = folder.load(choose_device(device).device, weights)
        measured, place = measured_images(folder, trained, data_dir, "test")
        with trained.in_its_precision():
            found = evaluate(trained.model, data.DataLoader(measured.images, BATCH), trained.class_names)
        (entry,) = list_runs(folder.path)
        return cls(folder, trained, entry, measured, place, found)

    @property
    def config(self) -> RunConfig | None:
        """The settings of the run; None for those that this gpucnn does not know, or that are damaged."""
        try:
            return RunConfig.from_run(self.trained.config, str(self.folder.config_file))
        except ConfigError:
            return None

    @property
    def data_name(self) -> str:
        """That of the data set, or of the folder of images."""
        name = str(self.trained.config["data"])
        return self.place.resolve().name if name == FOLDER else name

    @property
    def model_name(self) -> str:
        return str(self.entry.model)

    @property
    def parameters(self) -> int:
        return self.trained.model.parameter_count()

    @property
    def is_finished(self) -> bool:
        return self.folder.summary_file.exists()

    def learned_from(self) -> int | None:
        """How many images the run has learned from; None where nobody knows."""
        images = self.folder.read_images(self.trained.config)
        if images is not None:
            return len(images.names("train"))
        config = self.config
        if self.measured.splits is None or config is None or config.data == FOLDER:
            return None
        return round(len(self.measured.splits.train) * (1 - (config.validation or 0.0)))
