"""`gpucnn predict RUN IMAGE...`: what a trained model sees in image files."""

import argparse
import sys

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import choose_device
from gpucnn.data import read_image
from gpucnn.errors import RunError
from gpucnn.training import RunFolder

HELP = "Classify image files (PNG, JPEG, .npy): one line an image, with class and probability."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn predict`."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image, light on dark as in the digits and MNIST")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn predict`."""
    chosen = choose_device(options.device)
    folder = RunFolder(options.run_folder)
    model, preprocess = folder.load_model().to(chosen.device), folder.load_preprocess()
    class_names = folder.read_config()["class_names"]
    outputs = model.output_shape((1, preprocess.channels, preprocess.image_size, preprocess.image_size))[1]
    if len(class_names) != outputs:
        raise RunError(f"{folder.config_file}: {len(class_names)} class_names, but the model has {outputs} outputs")
    images = [read_image(path, preprocess) for path in options.images]
    print(chosen, file=sys.stderr)  # the table on standard output stays a table
    width = max(len(path) for path in options.images)
    for path, image in zip(options.images, images, strict=True):
        with no_grad():
            probabilities = F.softmax(model(preprocess(image))).numpy()[0]
        answer = int(np.argmax(probabilities))
        print(f"{path:<{width}}  {class_names[answer]}  {probabilities[answer]:.4f}")
