"""`gpucnn evaluate RUN`: measure a trained model on its data set's test images."""

import argparse
import dataclasses

from gpucnn import data
from gpucnn.backend import choose_device
from gpucnn.errors import RunError
from gpucnn.training import RunFolder, evaluate

HELP = "Measure the model of a run on its data set's test images."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn evaluate`."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="the folder of the data set's files (default: as in training)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn evaluate`."""
    device = choose_device(options.device)
    folder = RunFolder(options.run_folder)
    config = folder.read_config()
    model, preprocess = folder.load_model().to(device.device), folder.load_preprocess()
    data_dir = options.data_dir or config.get("data_dir")
    splits = data.load(config["data"], None if data_dir is None else str(data_dir), preprocess.image_size)
    if splits.preprocess != dataclasses.replace(preprocess, mean=None, std=None):
        raise RunError(f"{folder.config_file}: its preprocess is not that of {config['data']}, {splits.preprocess}")
    print(device)
    scores = evaluate(model, data.DataLoader(splits.with_preprocess(preprocess).test, 256))
    print(f"test loss {scores.loss:.4f}")
    print(f"test accuracy {scores.accuracy:.4f} ({scores.correct}/{scores.total})")
