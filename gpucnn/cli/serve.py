"""`gpucnn serve RUN`: a trained model answers over HTTP."""

import argparse

from gpucnn.backend import choose_device
from gpucnn.cli.arguments import add_weights, argument, count, memory_size, pixel_count
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.value_kind import COUNT_OR_ZERO, POSITIVE_OR_ZERO
from gpucnn.serve.app import check_libraries, create_app
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.server import bound, server_of
from gpucnn.text import printed

HELP = "Answer over HTTP: images in, classes and probabilities out, those of many requests in one batch."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn serve`."""
    usual = ServeOptions()
    parser.epilog = (
        "curl --data-binary @digit.png http://127.0.0.1:8000/predict; /docs in a browser tells the rest. SIGTERM or Ctrl-C ends it, "
        "once what was accepted is answered; a second one at once. It needs the extra serve, and is faster with onnxruntime."
    )
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="0 for any that is free (default: 8000)")
    parser.add_argument(
        "--max-batch",
        type=count,
        default=usual.max_batch,
        metavar="N",
        help=f"images in a batch, at most (default: {usual.max_batch})",
    )
    parser.add_argument(
        "--wait-ms", type=argument(POSITIVE_OR_ZERO), default=usual.wait_ms, metavar="MS",
        help=f"how long an image waits for others that are on their way, at most (default: {usual.wait_ms:g})",
    )  # fmt: skip
    parser.add_argument(
        "--max-bytes", type=memory_size, default=usual.max_bytes, metavar="SIZE", help="of a request (default: 10MB)"
    )
    parser.add_argument(
        "--max-pixels", type=pixel_count, default=usual.max_pixels, metavar="N", help="of an image (default: 50M)"
    )
    parser.add_argument(
        "--queue", type=count, default=usual.queue, metavar="N",
        help=f"images that may wait; whoever comes then is asked to come again (default: {usual.queue})",
    )  # fmt: skip
    add_weights(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def port(text: str) -> int:
    """A port, or 0."""
    number = int(argument(COUNT_OR_ZERO)(text))
    if number > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return number


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn serve`."""
    check_libraries("starlette", "uvicorn")
    limits = ServeOptions(
        max_batch=options.max_batch, wait_ms=options.wait_ms, max_bytes=options.max_bytes, max_pixels=options.max_pixels,
        queue=options.queue,
    )  # fmt: skip
    trained = RunFolder(options.run_folder).load(choose_device(options.device).device, options.weights)
    app = create_app(trained, limits)
    model = app.state.service.model
    with bound(options.host, options.port) as listening, quiet_reading():
        host, number = listening.getsockname()[:2]
        address = f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"

        def tell() -> None:
            print(
                f"serving {printed(options.run_folder)} ({trained.weights}) with {model.name} on {address}", flush=True
            )
            for note in model.notes:
                print(note, flush=True)

        server_of(app, limits, tell).run([listening])
