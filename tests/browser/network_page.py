"""network.js in a page, asked from Python."""

import base64
from typing import Any

import numpy as np

from gpucnn.play.browser_graph import ENGINE
from gpucnn.play.browser_model import json_for_script

HELPERS = """
let network;
function written(data) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength), parts = [];
  for (let from = 0; from < bytes.length; from += 8192) parts.push(String.fromCharCode(...bytes.subarray(from, from + 8192)));
  return btoa(parts.join(""));
}
"""
"""Arrays come back as texts: as lists of numbers they would take a minute."""


class NetworkPage:
    """A page in which one network after the other runs."""

    def __init__(self, page: Any) -> None:
        self.page = page
        page.add_script_tag(content=ENGINE.read_text(encoding="utf-8") + HELPERS)

    def load(self, model: dict[str, Any]) -> None:
        """Start with a model, as `browser_graph` gives it."""
        self.page.evaluate("(text) => { network = new Network(JSON.parse(text)); }", json_for_script(model))
        self.nodes = model["nodes"]

    def forward(self, image: np.ndarray) -> list[np.ndarray]:
        """What each node gives for an image, in its shape."""
        call = "(input) => network.forward(input).map(({ data }) => written(data))"
        found = self.page.evaluate(call, image.ravel().tolist())
        return [_read(text, node["shape"]) for text, node in zip(found, self.nodes, strict=True)]

    def backward(self, label: int, nodes: list[int]) -> list[np.ndarray]:
        """The gradient of a class's logit with respect to what each of `nodes` gave, flat."""
        call = "([label, nodes]) => nodes.map((node) => written(network.backward(label, node)))"
        return [_read(text, (-1,)) for text in self.page.evaluate(call, [label, nodes])]

    def grad_cam(self, label: int, node: int) -> np.ndarray:
        """Of a node's maps for a class, (H, W)."""
        found = self.page.evaluate("([label, node]) => written(network.gradCam(label, node))", [label, node])
        return _read(found, self.nodes[node]["shape"][2:])

    def explain(self, node: int, channel: int, y: int = 0, x: int = 0) -> dict[str, Any]:
        """What a value was made of."""
        found: dict[str, Any] = self.page.evaluate("(place) => network.explain(...place)", [node, channel, y, x])
        return found


def _read(text: str, shape: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)
