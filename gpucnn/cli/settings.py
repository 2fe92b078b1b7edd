"""The settings of a run as options of a command: `batch_size` is `--batch-size`."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from gpucnn.cli.arguments import argument
from gpucnn.data.catalog import FOLDER, name_and_folder
from gpucnn.errors import ArgumentError
from gpucnn.runs.config import RunConfig, read_toml, settings
from gpucnn.runs.recipe import RECIPES
from gpucnn.runs.value_kind import Kind, OrNone, Several, Truth


class _Words(argparse.Action):
    """The words behind an option as one value of `kind`."""

    def __init__(self, *arguments: Any, kind: Kind, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kind = kind

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        try:
            setattr(namespace, self.dest, self.kind.parse(" ".join(values or ())))
        except ArgumentError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare an option for every setting of a RunConfig, in groups, and one for a file of them."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file of the settings below, e.g. batch_size = 64; options given here win",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"settings that go together, over which --config, and options given here, win: {', '.join(RECIPES)}; see "
        f"gpucnn/cli/README.md",
    )
    groups: dict[str, Any] = {}
    for name, setting in settings().items():
        group = groups.get(setting.group) or groups.setdefault(setting.group, parser.add_argument_group(setting.group))
        kind = setting.kind
        inner = kind.kind if isinstance(kind, OrNone) else kind
        options: dict[str, Any] = {"metavar": setting.placeholder, "type": argument(kind)}
        if isinstance(inner, Truth):
            options = {"action": argparse.BooleanOptionalAction}
        elif isinstance(inner, Several):
            options = {"metavar": setting.placeholder, "action": _Words, "nargs": "+", "kind": kind}
        explained = f"{setting.help}: {' | '.join(usages)}" if (usages := kind.usages()) else setting.help
        group.add_argument(option(name), dest=name, default=argparse.SUPPRESS, help=explained, **options)


def option(name: str) -> str:
    """The option of the setting called `name`."""
    return f"--{name.replace('_', '-')}"


def chosen_config(options: argparse.Namespace) -> RunConfig:
    """What the command line, its --config and its --recipe ask for. ConfigError for a file that is not TOML, and for values that cannot be."""
    config = RunConfig() if options.config is None else RunConfig.from_toml(options.config)
    given = given_settings(options)
    if "data" in given and "data_dir" not in given and FOLDER in (config.data, name_and_folder(given["data"])[0]):
        given = {"data_dir": None, **given}  # where the file's data set lies says nothing of another
    if options.recipe is None:
        return dataclasses.replace(config, **given)
    written = {} if options.config is None else read_toml(options.config)
    return RunConfig.from_recipe(options.recipe, **{**written, **given})


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that stood on the command line, by name."""
    return {name: getattr(options, name) for name in settings() if hasattr(options, name)}
