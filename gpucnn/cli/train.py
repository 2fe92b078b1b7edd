"""`gpucnn train`: train a model on a data set and keep the run in a folder."""

import argparse
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn import __version__, data, models, optim
from gpucnn.backend import Device, choose_device
from gpucnn.backend.memory import free_bytes
from gpucnn.cli.arguments import choice, classifier, count, rate, seed
from gpucnn.layers import Layer
from gpucnn.training import Callback, ProgressBar, ProgressLines, RunFolder, RunRecorder, Trainer

HELP = "Train a model; without arguments, LeNet-5 on the handwritten digits that come with gpucnn."
EVALUATION_BATCH = 256
DATA_SHARE = 4
"""A data set may take one part in so many of a GPU's free memory."""


class Recipe(NamedTuple):
    """What suits a data set, unless the user says otherwise."""

    epochs: int
    batch_size: int
    label_smoothing: float


RECIPES = {
    "digits": Recipe(40, 32, 0.1),
    "mnist": Recipe(3, 64, 0.0),
    "fashion-mnist": Recipe(10, 64, 0.0),
    "cifar10": Recipe(10, 64, 0.0),
}
LEARNING_RATES = {"adam": 0.003, "sgd": 0.03}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn train`."""
    parser.add_argument("--model", type=classifier, default="lenet5", help=", ".join(models.classifier_names()))
    parser.add_argument("--data", type=choice(data.names()), default="digits", help=", ".join(data.names()))
    parser.add_argument("--data-dir", metavar="DIR", help="the folder of the data set's files (default: data/NAME)")
    parser.add_argument("--epochs", type=count, metavar="N", help="passes over the training set (default: by data set)")
    parser.add_argument("--batch-size", type=count, metavar="B", help="images a step (default: by data set)")
    parser.add_argument("--optimizer", type=choice(list(LEARNING_RATES)), default="adam", help="adam (default) or sgd")
    parser.add_argument("--lr", type=rate, metavar="X", help="peak learning rate (default: adam 0.003, sgd 0.03)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="decides every random draw (default: 0)")
    parser.add_argument("--out", metavar="DIR", help="the folder for the run (default: runs/MODEL-DATA-NUMBER)")
    parser.add_argument("--quiet", action="store_true", help="print the final line only")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn train`."""
    chosen = choose_device(options.device)
    source = data.source(options.data)
    image_size = models.image_size_for(options.model, source.native_size)
    splits = data.load(options.data, options.data_dir, image_size)
    create = {
        "name": options.model,
        "num_classes": len(splits.class_names),
        "in_channels": source.channels,
        "image_size": image_size,
    }
    model = models.create(**create, seed=options.seed).to(chosen.device)
    recipe = RECIPES[options.data]
    epochs, batch_size = options.epochs or recipe.epochs, options.batch_size or recipe.batch_size
    lr = options.lr or LEARNING_RATES[options.optimizer]
    train_set, test_set = (_near(part, chosen.device) for part in (splits.train, splits.test))
    train_loader = data.DataLoader(train_set, batch_size, shuffle=True, seed=options.seed, augment=splits.augment)
    test_loader = data.DataLoader(test_set, EVALUATION_BATCH)
    config = {
        "create": create,
        "preprocess": asdict(splits.preprocess),
        "class_names": splits.class_names,
        "data": options.data,
        "data_dir": options.data_dir,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": options.optimizer,
        "lr": lr,
        "label_smoothing": recipe.label_smoothing,
        "seed": options.seed,
        "device": str(chosen.device),
        "versions": {"gpucnn": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    folder = (
        RunFolder(options.out) if options.out else RunFolder.next_in(Path("runs"), f"{options.model}-{options.data}")
    )
    recorder = RunRecorder(folder, config)
    if not options.quiet:
        print(chosen)
        print(f"training {options.model} ({model.parameter_count():,} parameters) on {options.data}: "
              f"{len(splits.train):,} images, {epochs} epochs; run folder {folder.path}", flush=True)  # fmt: skip
    trainer = Trainer(
        model,
        _optimizer(options.optimizer, model, lr),
        train_loader,
        test_loader,
        optim.one_cycle(lr, epochs * len(train_loader)),
        [recorder, *_progress(options.quiet)],
        recipe.label_smoothing,
    )
    try:
        history = trainer.fit(epochs)
    except KeyboardInterrupt:
        saved = recorder.saved_epochs
        kept = f"{folder.model_file} has the model of epoch {saved}" if saved else "no epoch had finished"
        raise KeyboardInterrupt(f"stopped by Ctrl-C; {kept}") from None
    last = history[-1]
    folder.finish(
        {
            "test_accuracy": last["test_accuracy"],
            "test_correct": last["test_correct"],
            "test_total": last["test_total"],
            "epochs": epochs,
            "device": str(chosen.device),
            "seconds": sum(folder.read_times().values()),
            "parameters": model.parameter_count(),
        }
    )
    print(f"test accuracy {last['test_accuracy']:.4f} ({last['test_correct']}/{last['test_total']})")


def _near(dataset: data.ArrayDataset, device: Device) -> data.ArrayDataset:
    """The data set, on the GPU if it takes little of its free memory: batches then need not be sent there."""
    if device.kind == "cpu" or dataset.nbytes > free_bytes(device) // DATA_SHARE:
        return dataset
    return dataset.to(device)


def _optimizer(name: str, model: Layer, lr: float) -> optim.Optimizer:
    if name == "adam":
        return optim.Adam(model.parameters(), lr)
    return optim.SGD(model.parameters(), lr, momentum=0.9)


def _progress(quiet: bool) -> list[Callback]:
    if quiet:
        return []
    return [ProgressBar() if sys.stdout.isatty() else ProgressLines()]
