"""What is said of words of a command line that nobody knows: a command, an option, or a word without one."""

import argparse
from collections.abc import Iterable, Sequence

from gpucnn.checks import nearest
from gpucnn.text import printed, quoted, value_text


def of_command(name: str, known: Sequence[str]) -> str:
    """What is wrong with the command `name`."""
    hint = _did_you_mean(name, known) or f", expected one of {', '.join(known)}"
    return f"unknown command {value_text(name)}{hint}"


def of_arguments(left: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What is wrong with the arguments that a command's parser has left, of which it takes the first option, or else word."""
    options = parser._option_string_actions
    word = next((word for word in left if word.startswith("-")), left[0])
    if word.startswith("-"):
        name = word.partition("=")[0]
        return f"unknown option {value_text(name)}{_did_you_mean(name, options)}"
    meant = "--model" if _is_taken(word, options.get("--model")) else "--data" if "--data" in options else ""
    return f"unexpected {value_text(word)}{f'; did you mean {meant} {printed(quoted(word))}?' if meant else ''}"


def _is_taken(word: str, option: argparse.Action | None) -> bool:
    """Whether an option takes a word."""
    if option is None or not callable(option.type):
        return False
    try:
        option.type(word)
    except argparse.ArgumentTypeError:
        return False
    return True


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    like = nearest(name, names)
    return f"; did you mean {like}?" if like else ""
