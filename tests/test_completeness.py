"""What is exported has a case in the table that its tests share: a new layer without one turns a test here red.

Of functions `functions/test_every_function.py` says so.
"""

from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType

from gpucnn import layers, models, optim
from gpucnn.cli import commands
from gpucnn.data import augment
from tests.cli import test_bad_input
from tests.data.augment import transforms
from tests.layers import test_every_layer
from tests.models import test_models
from tests.optim import test_optimizers, test_schedule


def exported(package: ModuleType) -> dict[str, type | FunctionType]:
    """The classes and functions of a package for its users, by name."""
    found = vars(package).items()
    return {name: value for name, value in found if isinstance(value, type | FunctionType) and not name.startswith("_")}


def without_case(names: Iterable[str], package: ModuleType, cases: set[type]) -> set[str]:
    return {name for name in names if vars(package)[name] not in cases}


def test_every_layer_has_a_case() -> None:
    names = [
        name for name, value in exported(layers).items() if isinstance(value, type) and issubclass(value, layers.Layer)
    ]
    cases = {type(build()) for build, _ in test_every_layer.LAYERS}
    others = {"Layer", "Activation"}  # whose subclasses compute
    others |= {"LayerList", "LayerDict", "ParameterList"}  # which compute nothing by themselves: test_lists.py
    assert without_case(names, layers, cases) == others


ELSEWHERE = {
    "Group": "test_group.py",
    "Lookahead": "test_lookahead.py",
    "ReduceOnPlateau": "test_plateau.py",
    "Scheduler": "test_scheduler.py",
    "WeightAverage": "test_weight_average.py",
    "clip_gradient_norm": "test_clip.py",
    "clip_gradient_value": "test_clip.py",
}
"""Of what `optim` exports, what is neither an optimizer nor a schedule, and where it is tested."""


def test_every_optimizer_and_schedule_has_a_case() -> None:
    parameters = list(layers.Linear(2, 2).parameters())
    optimizers = {type(create(parameters)) for create in test_optimizers.OPTIMIZERS.values()}
    schedules = {str(schedule).partition("(")[0] for schedule, _ in test_schedule.LITERAL}
    names = set(exported(optim)) - schedules
    assert without_case(names, optim, optimizers) == {"Optimizer", *ELSEWHERE}
    for name, file_name in ELSEWHERE.items():
        assert f"optim.{name}" in (Path(__file__).parent / "optim" / file_name).read_text()


def test_every_augmentation_has_a_case() -> None:
    cases = {type(one) for one in (*transforms.AUGMENTATIONS.values(), *transforms.MIXES.values())}
    assert without_case(exported(augment), augment, cases) == set()


def test_every_model_has_a_case() -> None:
    names = [
        name
        for name, value in exported(models).items()
        if isinstance(value, type) and issubclass(value, models.ImageModel)
    ]
    cases = {type(models.create(size.name)) for size in test_models.SIZES}
    assert without_case(names, models, cases) == {"ImageModel"}


def test_every_command_has_a_case() -> None:
    assert {line.partition(" ")[0] for line, *_ in test_bad_input.TABLE} >= set(commands.NAMES)
