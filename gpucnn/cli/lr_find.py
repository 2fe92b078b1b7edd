"""`gpucnn lr-find`: which learning rate suits a run, before it is trained."""

import argparse
import os
import sys

from gpucnn.cli.arguments import argument
from gpucnn.cli.launcher import check_single_process
from gpucnn.cli.result_file import check_writable
from gpucnn.cli.settings import add_settings, chosen_config
from gpucnn.errors import ConfigError
from gpucnn.plot.figure import check_path
from gpucnn.plot.lr_find import lr_find
from gpucnn.runs.value_kind import Whole
from gpucnn.training import find_lr, prepare
from gpucnn.training.find_lr import FEWEST, HIGHEST, LOWEST, STEPS

HELP = "Train a few hundred steps, each with a higher learning rate, and suggest one from where the loss falls; nothing is kept."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn lr-find`."""
    parser.epilog = (
        "The loss falls fastest at the steepest rate, and is lowest at the minimum, which is too high to train with; suggested is "
        "the steepest, or a tenth of the minimum, if that is larger. gpucnn train --lr find does the same, and trains with it."
    )
    fewest = Whole(f"a whole number >= {FEWEST}", lambda value: value >= FEWEST)
    parser.add_argument(
        "--steps", type=argument(fewest), default=STEPS, metavar="N", help=f"steps at most (default: {STEPS})"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="draw losses by rate, e.g. lr.png; needs the extra plot, which is matplotlib"
    )
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn lr-find`."""
    from tqdm import tqdm

    check_single_process(os.environ)
    if hasattr(options, "lr"):
        raise ConfigError("--lr is what is looked for; leave it out")
    if options.out:
        check_path(options.out)
        check_writable(options.out)
    options.lr = None  # a file may have one
    ready = prepare(chosen_config(options))
    config = ready.config
    print(ready.device)
    print(
        f"{config.model} on {config.data}, {config.optimizer}, batches of {config.batch_size}: {options.steps} steps at most, "
        f"with rates from {LOWEST:g} to {HIGHEST:g}",
        flush=True,
    )
    with tqdm(total=options.steps, unit="step", leave=False, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def tell(rate: float, loss: float) -> None:
            bar.set_postfix_str(f"lr {rate:.1e}, loss {loss:.4g}")
            bar.update()

        found = find_lr(ready.trainer(), options.steps, on_step=tell)
    if options.out:
        lr_find(found, options.out)
    print(found)
