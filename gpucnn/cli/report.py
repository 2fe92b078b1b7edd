"""`gpucnn report RUN`: what came of a run, as one page to look at."""

import argparse

from gpucnn.cli.arguments import add_weights
from gpucnn.report import write_report

HELP = "Write what came of a run as one page of HTML, with pictures: a file that opens from disk and needs no network."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn report`."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument("--out", metavar="FILE", help="the page's file (default: report.html in RUN)")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the folder of the data set's files (default: as in training); of another folder of images all are measured, but "
        "those that the run was trained on",
    )
    add_weights(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn report`."""
    page = write_report(
        options.run_folder, options.out, weights=options.weights, data_dir=options.data_dir, device=options.device
    )
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB; open it in a browser")
