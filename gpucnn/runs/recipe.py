"""What suits a data set, and an optimizer, unless the user says otherwise."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """What suits a data set."""

    epochs: int
    batch_size: int
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    mode: str | None = None


class OptimizerDefaults(NamedTuple):
    """What suits an optimizer: its peak learning rate, and its weight decay."""

    lr: float
    weight_decay: float = 0.0


DATA_SETS = {
    "digits": Recipe(40, 32, label_smoothing=0.1, augment=("shift:2",)),
    "mnist": Recipe(3, 64),
    "fashion-mnist": Recipe(10, 64),
    "cifar10": Recipe(10, 64, augment=("flip", "shift:4")),
    "cifar100": Recipe(20, 64, augment=("flip", "shift:4")),
    "cifar100-coarse": Recipe(20, 64, augment=("flip", "shift:4")),
    "svhn": Recipe(10, 64),
    "emnist-byclass": Recipe(3, 64),
    "emnist-bymerge": Recipe(3, 64),
    "emnist-balanced": Recipe(5, 64),
    "emnist-letters": Recipe(5, 64),
    "emnist-digits": Recipe(3, 64),
    "emnist-mnist": Recipe(3, 64),
    "folder": Recipe(20, 32, augment=("flip", "shift:4"), mode="rgb"),
}
OPTIMIZERS = {
    "adam": OptimizerDefaults(0.003),
    "adamw": OptimizerDefaults(0.003, weight_decay=0.01),
    "sgd": OptimizerDefaults(0.03),
    "rmsprop": OptimizerDefaults(0.001),
    "adagrad": OptimizerDefaults(0.03),
    "lion": OptimizerDefaults(0.0003),
}


def for_data_set(name: str, mode: str | None) -> Recipe:
    """What suits a data set whose images are of `mode`."""
    recipe = DATA_SETS[name]
    # Grey images are often of characters or measurements, which a mirror turns into something else.
    return recipe._replace(augment=()) if mode == "grey" else recipe
