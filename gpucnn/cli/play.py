"""`gpucnn play [RUN]`: watch a trained network at work, in the browser."""

import argparse
import sys
import threading
import webbrowser
from contextlib import nullcontext

from gpucnn.backend import choose_device
from gpucnn.cli.arguments import add_weights, argument
from gpucnn.play.export import export
from gpucnn.play.page import page_files
from gpucnn.play.ready_run import ready_run
from gpucnn.play.sample_images import sample_images
from gpucnn.play.server import PORT, PageServer
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.value_kind import COUNT

HELP = "Open a page in which a trained network is watched at work: draw, and see each layer's maps, pixel by pixel."
LARGE = 60e6
"""Bytes from which on a browser takes a while to load the page."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn play`."""
    parser.epilog = (
        "The network runs in the browser, from the run's weights; the page is there for this machine alone, needs no network, "
        "and sends nothing anywhere. Ctrl-C ends it."
    )
    parser.add_argument(
        "run_folder", metavar="RUN", nargs="?",
        help="a folder that gpucnn train made (default: LeNet-5, trained on the digits, which comes with gpucnn)",
    )  # fmt: skip
    parser.add_argument("--port", type=port, metavar="N", help=f"where the page is (default: {PORT}, or a free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser, only say where the page is")
    parser.add_argument("--export", metavar="FOLDER", help="write the page into FOLDER, which opens anywhere, and end")
    add_weights(parser)


def port(text: str) -> int:
    """A port that programs may have, from 1 to 65535."""
    number = int(argument(COUNT)(text))
    if number > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return number


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn play`."""
    with ready_run() if options.run_folder is None else nullcontext(RunFolder(options.run_folder)) as folder:
        trained = folder.load(choose_device("cpu").device, options.weights)
        samples, why_not = sample_images(folder, trained)
        files = page_files(trained, samples)
    if why_not:
        print(f"gpucnn play: no test images to choose from ({why_not.partition(';')[0]})", file=sys.stderr)
    size = sum(map(len, files.values()))
    if size > LARGE:
        print(
            f"gpucnn play: the page has {size / 1e6:,.0f} MB, most of it weights: a browser takes a while to load it",
            file=sys.stderr,
        )
    if options.export is not None:
        page = export(files, options.export)
        print(
            f"{page}: {size / 1e6:,.1f} MB in {len(files)} files; open it in a browser, here or on any machine it is copied to"
        )
        return
    with PageServer(files, options.port) as server:
        if options.port is None and server.server_port != PORT:
            print(f"gpucnn play: port {PORT} is taken, so the page is at another one", file=sys.stderr)
        print(f"{server.address}  (Ctrl-C ends it)", flush=True)
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")
