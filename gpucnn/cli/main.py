"""The command `gpucnn`: parses, runs, and turns every expected failure into one line and an exit status."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from gpucnn import __version__
from gpucnn.cli import agree, bench, doctor, evaluate, predict, runs, summary, train, verify_resume
from gpucnn.errors import GpucnnError, Terminated

USAGE_ERROR, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM."""
    parser = Parser(prog="gpucnn", description="Train convolutional neural networks on a GPU or a laptop.")
    parser.add_argument("--version", action="version", version=f"gpucnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (train, verify_resume, evaluate, predict, runs, summary, doctor, agree, bench):
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    if sys.stdout is None:  # closed by the caller: gpucnn ... >&-
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open until the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not fit the terminal's encoding
    options = parser.parse_args(arguments)
    try:
        status: int | None = options.run(options)  # of a command that can fail in part
        sys.stdout.flush()
    except GpucnnError as error:
        return _fail(options.command, str(error), FAILURE)
    except MemoryError as error:
        fix = "; use a smaller --batch-size" if options.command == "train" else ""
        return _fail(options.command, f"out of memory ({error or 'no details'}){fix}", FAILURE)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `gpucnn summary lenet5 | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(options.command, f"{place}{error.strerror or error}", FAILURE)
    except Terminated as error:
        return _fail(options.command, str(error), TERMINATED)
    except KeyboardInterrupt as error:
        return _fail(options.command, str(error) or "stopped by Ctrl-C", INTERRUPTED)
    return status or 0


def _fail(command: str, message: str, status: int) -> int:
    print(f"gpucnn {command}: {' '.join(message.split())}", file=sys.stderr)
    return status
