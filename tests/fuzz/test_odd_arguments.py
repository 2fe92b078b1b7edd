"""Every argument of everything public, given odd values: it works, or one of our own errors says what was wrong."""

import inspect
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, explain, layers, optim, plot
from gpucnn import functions as F
from gpucnn.errors import GpucnnError
from tests.fuzz.odd_values import ODD_VALUES
from tests.fuzz.valid_calls import FUNCTIONS, LAYERS, OTHERS, WITHOUT_ARGUMENTS

LONGEST_MESSAGE = 700
"""Characters. A message that prints all of a large value helps nobody."""
HANGS_AFTER = 60
"""Seconds, of a call that takes milliseconds."""
ONE_IN = 3
"""So many of the values are tried by default; all of them with --fuzz-inputs."""

READERS = [
    name
    for name, (_, arguments, _) in OTHERS.items()
    if any(isinstance(value, str) and value == "nowhere" for value in arguments().values())
    and name != "training.RunFolder"
]
"""What is given a path where there is no file."""

NEEDS = {"plot.": ("matplotlib", "plot"), "export.": ("onnx", "onnx"), "ImageClassifier": ("sklearn", "sklearn")}
"""The library, and the extra that has it, of what does not work without."""

# The index of a sequence that ends is Python's own to refuse.
REFUSALS = {name: (GpucnnError, IndexError) if name == "data.Subset" else GpucnnError for name in OTHERS}


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Fails the test inside if it hangs, where the system can tell."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"still running after {HANGS_AFTER} seconds")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def learning(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with arrays of floats as tensors that need a gradient."""
    plain = ("image", "kernel", "feature_map")
    return {
        name: Tensor(value.copy(), requires_grad=True)
        if isinstance(value, np.ndarray) and value.dtype == np.float32 and name not in plain
        else value
        for name, value in arguments.items()
    }


def forth_and_back(output: Any) -> None:
    if isinstance(output, Tensor) and output.requires_grad:
        output.sum().backward()


def calls(name: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """What to call, and what makes arguments that it takes."""
    kind, _, member = name.partition(".")
    if name in OTHERS:
        function, arguments, then = OTHERS[name]
        return lambda **given: then(function(**given)), arguments
    if kind == "F":
        return lambda **given: forth_and_back(getattr(F, member)(**given)), lambda: learning(FUNCTIONS[member])
    arguments, x = LAYERS[member]
    return lambda **given: forth_and_back(
        getattr(layers, member)(**given)(Tensor(x, requires_grad=True))
    ), lambda: arguments


NAMES = [*(f"F.{name}" for name in FUNCTIONS), *(f"layers.{name}" for name in LAYERS), *OTHERS]


@pytest.mark.sample(80)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, where values overflow
@pytest.mark.parametrize("name", NAMES)
def test_odd_arguments_are_answered_in_our_own_words(
    name: str, in_tmp_path: object, pytestconfig: pytest.Config
) -> None:
    call, arguments = calls(name)
    one_in = 1 if pytestconfig.getoption("--fuzz-inputs") else ONE_IN
    wrong = []
    for argument in arguments():
        for label, value in ODD_VALUES.items():
            if zlib.crc32(f"{name} {argument} {label}".encode()) % one_in:
                continue
            try:
                with ends_in_time():
                    call(**{**arguments(), argument: value})
            except REFUSALS.get(name, GpucnnError) as error:
                if len(str(error)) > LONGEST_MESSAGE:
                    wrong.append(f"{argument}={label}: a message of {len(str(error)):,} characters")
            except Exception as error:
                wrong.append(f"{argument}={label}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.sample(80)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_that_are_made_odd_are_right_before(name: str, in_tmp_path: object) -> None:
    call, arguments = calls(name)
    for beginning, (library, extra) in NEEDS.items():
        if name.startswith(beginning):
            pytest.importorskip(library, reason=f"it needs the extra {extra}")
    with pytest.raises(GpucnnError, match="nowhere") if name in READERS else nullcontext():
        call(**arguments())


@pytest.mark.parametrize(
    ("module", "prefix"),
    [(F, "F."), (layers, "layers."), (optim, "optim."), (data, "data."), (explain, "explain."), (plot, "plot.")],
)
def test_everything_public_is_called(module: ModuleType, prefix: str) -> None:
    public = {
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and callable(member) and getattr(member, "__module__", "").startswith("gpucnn.")
    }
    takes_arguments = {name for name in public if name not in WITHOUT_ARGUMENTS}
    missing = takes_arguments - {name.removeprefix(prefix) for name in NAMES if name.startswith(prefix)}
    assert not missing, f"add {', '.join(sorted(missing))} to tests/fuzz/valid_calls.py"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_function_is_given(name: str) -> None:
    assert set(inspect.signature(getattr(F, name)).parameters) == set(FUNCTIONS[name])


@pytest.mark.parametrize("name", LAYERS)
def test_every_argument_of_a_layer_is_given(name: str) -> None:
    assert set(inspect.signature(getattr(layers, name)).parameters) == set(LAYERS[name][0])
