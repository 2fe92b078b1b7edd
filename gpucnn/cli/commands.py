"""All commands by name: the one that is asked for is imported, runs, and every expected failure is one line and an exit status."""

import _thread
import argparse
import importlib
import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

from gpucnn import __version__
from gpucnn.errors import GpucnnError, Terminated

NAMES = (
    "train", "data", "lr-find", "sweep", "verify-resume", "verify-parallel", "replay", "evaluate", "predict", "report", "explain",
    "plot", "play", "export", "serve", "runs", "summary", "doctor", "agree", "bench",
)  # fmt: skip
USAGE_ERROR, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes options by their whole names alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for; `command` is its name, `run` carries it out. SystemExit for help and wrong usage.

    Without a command the help is printed, and the status is that of wrong usage: a script whose command got lost has not
    done its work.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(prog="gpucnn", description="Train convolutional neural networks on a GPU or a laptop.")
    parser.add_argument("--version", action="version", version=f"gpucnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in _needed(given):
        module = _module(name)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    if sys.stdout is None:  # closed by the caller: gpucnn ... >&-
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open until the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not fit the terminal's encoding
    if given and given[0].startswith("-") and given[0] not in parser._option_string_actions:
        parser.error(
            _module("unknown-words").of_arguments(given[:1], parser)
        )  # before a value of it is taken for a command
    if given and not given[0].startswith("-") and given[0] not in NAMES:
        parser.error(_module("unknown-words").of_command(given[0], NAMES))
    options, left = parser.parse_known_args(given)
    options.given = given
    if left:
        command = commands.choices[options.command]
        command.error(_module("unknown-words").of_arguments(left, command))
    if not options.command:
        parser.print_help()
        parser.exit(USAGE_ERROR)
    return options


def _needed(given: Sequence[str]) -> Sequence[str]:
    """The commands whose arguments must be known: the one that is given, none for the version, all for help and mistakes."""
    if given[:1] == ["--version"]:
        return ()
    return given[:1] if given and given[0] in NAMES else NAMES


def _module(name: str) -> ModuleType:
    """A command's module, or another that most commands do without."""
    return importlib.import_module(f"gpucnn.cli.{name.replace('-', '_')}")


def carry_out(options: argparse.Namespace) -> int:
    """Run the command that was parsed, and return its exit status."""
    try:
        with _no_interrupt_lost():
            status: int | None = options.run(options)  # of a command that can fail in part
            sys.stdout.flush()
    except GpucnnError as error:
        return _fail(options.command, _with_notes(str(error), error), FAILURE)
    except MemoryError as error:
        fix = "; use a smaller --batch-size" if options.command == "train" else ""
        return _fail(options.command, _with_notes(f"out of memory ({error or 'no details'}){fix}", error), FAILURE)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `gpucnn summary lenet5 | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(options.command, _with_notes(f"{place}{error.strerror or error}", error), FAILURE)
    except Terminated as error:
        return _fail(options.command, str(error), TERMINATED)
    except KeyboardInterrupt as error:
        return _fail(options.command, str(error) or "stopped by Ctrl-C", INTERRUPTED)
    return status or 0


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Inside, a Ctrl-C that comes in one of Python's callbacks, which prints exceptions and drops them, comes again."""
    earlier = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _thread.interrupt_main).start()
        else:
            earlier(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = earlier


def _with_notes(message: str, error: Exception) -> str:
    """A message, and what was added to its error on the way: where it happened, how to go on."""
    return "; ".join([message, *getattr(error, "__notes__", [])])


def _fail(command: str, message: str, status: int) -> int:
    # Written at once, so that lines of processes that end together do not mix.
    print(f"gpucnn {command}: {' '.join(message.split())}\n", end="", file=sys.stderr)
    return status
