"""Names of PyTorch and torchvision that a package has under another word: the error says the word, and the word is there."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

import gpucnn
from gpucnn import data, layers, models, optim, training
from gpucnn.autograd.torch_words import words_of_torch
from gpucnn.errors import UnknownNameError

OPTIMIZER = optim.SGD(layers.Linear(1, 1).parameters())


@pytest.mark.parametrize(
    ("owner", "name", "message"),
    [
        (gpucnn, "nn", "gpucnn has no nn; it is gpucnn.layers, and gpucnn.functions for torch.nn.functional"),
        (
            gpucnn,
            "manual_seed",
            "gpucnn has no manual_seed; it is seed=, of models.create, DataLoader and RunConfig: no draw has a state of its own",
        ),
        (gpucnn, "layer", "gpucnn has no layer; did you mean layers?"),
        (models, "resnet18", 'models has no resnet18; it is create("resnet18")'),
        (models, "ResNet19", "models has no ResNet19; did you mean ResNet18?"),
        (training, "Trainr", "training has no Trainr; did you mean Trainer?"),
        (training, "RunFoldr", "training has no RunFoldr; did you mean RunFolder?"),
        (data, "TensorDataset", "data has no TensorDataset; it is ArrayDataset(images, labels)"),
        (data, "Dataloader", "data has no Dataloader; did you mean DataLoader?"),
        (optim, "lr_schedule", "optim has no lr_schedule; did you mean Schedule?"),
        (OPTIMIZER, "defaults", "SGD has no defaults; it is param_groups[0]"),
        (optim.Scheduler(OPTIMIZER, optim.constant(0.1)), "last_epoch", "Scheduler has no last_epoch; it is steps"),
        (OPTIMIZER, "paramgroups", "SGD has no paramgroups; did you mean param_groups?"),
    ],
)
def test_the_message(owner: Any, name: str, message: str) -> None:
    assert not hasattr(owner, name)
    with pytest.raises(UnknownNameError) as raised:
        getattr(owner, name)
    assert str(raised.value) == message


WORDS = [(gpucnn, words_of_torch()), (data, data._ELSEWHERE)]


@pytest.mark.parametrize(("package", "words"), WORDS, ids=["gpucnn", "data"])
def test_the_words_are_there(package: Any, words: Mapping[str, str]) -> None:
    for name, word in words.items():
        assert not hasattr(package, name) or name in gpucnn.__all__, name
        for home in re.findall(r"\bgpucnn\.(\w+)", word):
            assert hasattr(gpucnn, home), (name, word)
        for called in re.findall(r"\b([A-Z]\w+)\(", word) if package is data else ():
            assert hasattr(data, called), (name, word)


def test_a_submodule_is_found_where_it_has_not_been_imported_yet() -> None:
    assert importlib.import_module("gpucnn.runs.config").RunConfig is training.RunConfig
    from gpucnn import testing

    assert testing.__name__ == "gpucnn.testing"


PACKAGES = [module.name for module in pkgutil.walk_packages(gpucnn.__path__, "gpucnn.") if module.ispkg]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_what_is_its_own(name: str) -> None:
    package = importlib.import_module(name)
    names = {one for one, value in vars(package).items() if one[0] != "_" and not isinstance(value, ModuleType)}
    if not names:
        return  # it holds modules alone
    assert dir(package) == package.__all__ == sorted(set(package.__all__))
    assert all(hasattr(package, one) for one in package.__all__)
    assert not {"Any", "np", "os", "importlib", "Sequence", "NamedTuple", "TYPE_CHECKING"} & set(package.__all__)
    defined = {one for one in names if getattr(vars(package)[one], "__module__", "") == name}
    assert defined <= set(package.__all__)
