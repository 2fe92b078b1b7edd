"""A trained model as the page takes it: its network, and what belongs to it, for JSON."""

import json
from dataclasses import asdict
from typing import Any

from gpucnn.data.catalog import is_light_on_dark
from gpucnn.play.browser_graph import browser_graph
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import list_runs
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training.best_epoch import judged_by


def browser_model(trained: TrainedRun) -> dict[str, Any]:
    """All that a page needs to show images to a trained model, ready for JSON.

    - `nodes`, `arrays`, `input_shape`: see `browser_graph`.
    - `class_names`, and `preprocess`, the fields of the run's `Preprocess`; `is_light_on_dark`, whether its data are known to be.
    - `name` of the model, `parameters`, how many numbers it has learnt, and `facts`: of which `run`, on which `data`, over how
      many `epochs`, which `weights`, and their `accuracy` on images of the part `accuracy_of`, None where that is not known.

    Raises GraphError for a model that no graph can follow, with a function that the browser does not know, or too large for it.
    """
    side = trained.preprocess.image_size
    create = trained.config.get("create")
    return {
        **browser_graph(trained.model, (1, trained.preprocess.channels, side, side)),
        "name": str(create.get("name")) if isinstance(create, dict) else type(trained.model).__name__,
        "parameters": sum(parameter.size for parameter in trained.model.parameters()),
        "class_names": list(trained.class_names),
        "preprocess": asdict(trained.preprocess),
        "is_light_on_dark": is_light_on_dark(str(trained.config.get("data"))),
        "facts": _facts(trained),
    }


<<<<<<< HEAD
=======
def browser_graph(model: Layer, shape: Shape) -> dict[str, Any]:
    """What a model computes of one image of `shape` (1, C, H, W), as network.js takes it.

    - `nodes`: the calls of functions in their order, each with `function`, `path` of the layer, `inputs` and `shape` as in a
      `GraphNode`, `arguments`, and whether what comes out `is_map`, (1, C, H, W). Of the arguments {"input": 3} is what a node
      gave, -1 the image, and {"array": "conv1.weight"} is one of `arrays`; windows, axes and indices are written out.
    - `arrays`: by name `shape` and `base64`, little-endian float32. Half of the bytes would do for a glance, but not for the
      answers of gpucnn to their last digits, nor for sums that can be checked by hand.

    Raises GraphError, which names layer, function and fix.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), np.float32)
    graph = model_graph(model, np.zeros(shape, dtype))
    saved = {path: member.array for path, member in [*model.named_parameters(), *model.named_buffers()]}
    arrays: dict[str, Array] = {}
    nodes: list[dict[str, Any]] = []
    for node in graph.nodes:
        if node.function not in known_functions():
            raise GraphError(
                f"{_place(node)}: network.js does not know {node.function}; known are {names_text(known_functions(), 99)}: "
                f"add it to FUNCTIONS there, or build the model with one of these"
            )
        shapes = _shapes(node, [other.shape for other in graph.nodes], saved, shape)
        written = WRITTEN_OUT[node.function](node.arguments, shapes) if node.function in WRITTEN_OUT else node.arguments
        nodes.append(
            {
                "function": node.function,
                "path": node.path,
                "inputs": list(node.inputs),
                "arguments": {name: _argument(value, saved, arrays, node) for name, value in written.items()},
                "shape": list(node.shape),
                "is_map": len(node.shape) == 4,
            }
        )
    for node, entry in zip(graph.nodes, nodes, strict=True):  # channels last are rows of numbers, not maps
        if node.function == "transpose" and len(node.shape) == 4:
            entry["is_map"] = entry["arguments"]["axes"] != [0, 2, 3, 1]
            for one in node.inputs:
                if entry["arguments"]["axes"] == [0, 3, 1, 2] and one >= 0:
                    nodes[one]["is_map"] = False
    return {
        "input_shape": list(shape),
        "nodes": nodes,
        "arrays": {name: _written(array) for name, array in arrays.items()},
    }


>>>>>>> wt-page2
def json_for_script(value: Any) -> str:
    """`value` as JSON that may stand in a script, in a file or a page: no text in it can end the script, or its line."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _facts(trained: TrainedRun) -> dict[str, Any]:
    row, folder = trained.weights.row, trained.weights.file.parent
    entry = list_runs(folder)[0]
    is_result = row or RunFolder(folder).weights().name == trained.weights.name
    part = judged_by(row) if row else "test"
    return {
        "run": folder.name,
        "data": str(trained.config.get("data")),
        "epochs": entry.epochs,
        "weights": str(trained.weights),
        "accuracy": row.get(f"{part}_accuracy") if row else entry.accuracy if is_result else None,
        "accuracy_of": part,
    }
