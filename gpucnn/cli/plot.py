"""`gpucnn plot RUN...`: the learning curves of runs, side by side."""

import argparse

from gpucnn.plot.curves import curves

HELP = "Draw the loss and accuracy of runs, epoch by epoch, into one picture."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn plot`."""
    parser.epilog = (
        "Training is dashed, what was measured is a line, with a ring at the best epoch. Runs of one name are told apart by the "
        "settings in which they differ. Needs the extra plot, which is matplotlib; gpucnn.plot has more figures."
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders that gpucnn train made")
    parser.add_argument("--out", metavar="FILE", default="curves.png", help=".png, .svg or .pdf (default: curves.png)")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn plot`."""
    curves(options.runs, options.out)
    print(f"wrote {options.out}")
