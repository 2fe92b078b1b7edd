"""`gpucnn train`: train a model on a data set and keep the run in a folder."""

import argparse
import dataclasses
import sys
from pathlib import Path

from gpucnn.cli.settings import add_settings, given_settings
from gpucnn.training import (
    Callback,
    ProgressBar,
    ProgressLines,
    RunConfig,
    RunFolder,
    prepare,
)  # fmt: skip
from gpucnn.training.prepare import PreparedRun

HELP = "Train a model; without arguments, LeNet-5 on the handwritten digits that come with gpucnn."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn train`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file of the settings below, e.g. batch_size = 64; options given here win",
    )
    parser.add_argument("--out", metavar="DIR", help="the folder for the run (default: runs/MODEL-DATA-NUMBER)")
    parser.add_argument("--quiet", action="store_true", help="print the final line only")
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn train`."""
    config = RunConfig() if options.config is None else RunConfig.from_toml(options.config)
    ready = prepare(dataclasses.replace(config, **given_settings(options)))
    config = ready.config
    folder = RunFolder(options.out) if options.out else RunFolder.next_in(Path("runs"), f"{config.model}-{config.data}")
    callbacks = ready.callbacks(folder)
    if not options.quiet:
        print("\n".join(heading(ready, folder)), flush=True)
    assert config.epochs is not None
    trainer = ready.trainer([*callbacks, *_progress(options.quiet)])
    history = trainer.fit(config.epochs)
    scores = ready.final_scores(trainer)
    folder.finish(
        {
            **scores,
            "epochs": len(history),
            "device": config.device,
            "seconds": sum(folder.read_times().values()),
            "parameters": ready.model.parameter_count(),
        }
    )
    print(f"test accuracy {scores['test_accuracy']:.4f} ({scores['test_correct']}/{scores['test_total']})")


def heading(ready: PreparedRun, folder: RunFolder) -> list[str]:
    """The lines that say what will be trained, where and how."""
    config = ready.config
    what = f"{config.model} ({ready.model.parameter_count():,} parameters) on {config.data}"
    images = f"{len(ready.train_loader.dataset):,} images"
    if config.validation:
        images += f", measured on {len(ready.test_loader.dataset):,} more"
    augmentation = " ".join([*(config.augment or ["none"]), *([config.mix] if config.mix else [])])
    return [
        ready.device,
        f"training {what}: {images}, {config.epochs} epochs; run folder {folder.path}",
        f"{config.optimizer} with lr {config.lr:g}, {config.schedule}; batches of {config.batch_size}; augmentation {augmentation}",
    ]


def _progress(quiet: bool) -> list[Callback]:
    if quiet:
        return []
    return [ProgressBar() if sys.stdout.isatty() else ProgressLines()]
