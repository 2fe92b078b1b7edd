"""`gpucnn verify-resume`: whether one's own run can be stopped and resumed without changing a bit of it."""

import argparse
import os

from gpucnn.cli.arguments import count
from gpucnn.cli.folder_report import looking
from gpucnn.cli.launcher import check_single_process
from gpucnn.cli.settings import add_settings, chosen_config
from gpucnn.runs.verification import Part, verify_resume
from gpucnn.text_table import stacked_tables
from gpucnn.training import prepare

HELP = "Train a few steps in one go, and once more stopped and resumed in a new process; compare all that is kept, byte by byte."
STEPS = 30
HEADER = ("compared", "arrays", "bytes", "sha256")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn verify-resume`."""
    parser.epilog = "Exit status: 0 if every byte is the same, 1 if not. Nothing is kept."
    parser.add_argument(
        "--steps", type=count, default=STEPS, metavar="K", help=f"steps until the stop, and after it (default: {STEPS})"
    )
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn verify-resume`, and return its exit status."""
    check_single_process(os.environ)
    with looking() as told:
        ready = prepare(chosen_config(options), told)
    config, steps = ready.config, options.steps
    print(ready.device)
    print(
        f"{config.model} on {config.data}, {config.optimizer}, {config.schedule}: {2 * steps} steps in one go; "
        f"{steps}, and {steps} more in a new process",
        flush=True,
    )
    found = verify_resume(config, steps)
    print("\n".join(["", *stacked_tables(HEADER, [_row(part) for part in found.parts], "lrrl"), ""]))
    if found.difference:
        print(f"FAIL: {found.difference}")
        return 1
    arrays, size = sum(part.arrays or 0 for part in found.parts), sum(part.size for part in found.parts)
    print(f"PASS: {arrays} arrays and {size:,} bytes in all are the same; epochs finished on the way: {found.epochs}")
    return 0


def _row(part: Part) -> tuple[str, ...]:
    return part.name, "" if part.arrays is None else str(part.arrays), f"{part.size:,}", part.sha256
