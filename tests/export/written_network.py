"""Networks as `numpy_network` writes them, made into functions that can be called."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.export.numpy_network import Network, numpy_network
from gpucnn.layers.graph import graph_of_any_batch

IMPORTS = "import numpy as np\n\nfrom gpucnn.export.numpy_file.functions import *\n"


def imported(path: Path) -> Any:
    """The module in a file, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"written_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_functions(networks: Mapping[str, Network], path: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What each of them computes of images, by the same names, from one file."""
    names = {name: f"network{number}" for number, name in enumerate(networks)}
    texts = [f"def {names[name]}(x, w):\n" + "\n".join(network.lines) + "\n" for name, network in networks.items()]
    path.write_text("\n\n".join([IMPORTS, *texts]), encoding="utf-8")
    module = imported(path)

    def called(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda images: getattr(module, names[name])(images, networks[name].arrays)

    return {name: called(name) for name in networks}


def as_function(model: Any, images: np.ndarray, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What a model computes, written for any number of images like these."""
    return as_functions({"": numpy_network(graph_of_any_batch(model, images))}, folder / "network.py")[""]
