"""network.js in a page, asked from Python."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.play.browser_model import ENGINE, json_for_script

IN_THE_PAGE = """
<script src="{engine}"></script>
<script src="model.js"></script>
<script>
  const network = new Network(MODEL);
  function written(data) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength), parts = [];
    for (let from = 0; from < bytes.length; from += 8192) parts.push(String.fromCharCode(...bytes.subarray(from, from + 8192)));
    return btoa(parts.join(""));
  }
  const forward = (input) => network.forward(input).map(({ data }) => written(data));
  const backward = (label, nodes) => nodes.map((node) => written(network.backward(label, node)));
  const gradCam = (label, node) => written(network.gradCam(label, node));
</script>
"""


class NetworkPage:
    """A page with one network, which is opened from a file as a user would open an exported page."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder

    def load(self, model: dict[str, Any]) -> None:
        """Start with a model, as `browser_graph` gives it."""
        (self.folder / "model.js").write_text(f"const MODEL = {json_for_script(model)};", encoding="ascii")
        (self.folder / "page.html").write_text(IN_THE_PAGE.replace("{engine}", ENGINE.as_uri()))
        self.page.goto((self.folder / "page.html").as_uri())
        self.nodes = model["nodes"]

    def forward(self, image: np.ndarray) -> list[np.ndarray]:
        """What each node gives for an image, in its shape."""
        found = self.page.evaluate("(input) => forward(input)", image.ravel().tolist())
        return [_read(text, node["shape"]) for text, node in zip(found, self.nodes, strict=True)]

    def backward(self, label: int, nodes: list[int]) -> list[np.ndarray]:
        """The gradient of a class's logit with respect to what each of `nodes` gave, flat."""
        found = self.page.evaluate("([label, nodes]) => backward(label, nodes)", [label, nodes])
        return [_read(text, (-1,)) for text in found]

    def grad_cam(self, label: int, node: int) -> np.ndarray:
        """Its Grad-CAM for a class, (H, W)."""
        found = self.page.evaluate("([label, node]) => gradCam(label, node)", [label, node])
        return _read(found, self.nodes[node]["shape"][2:])

    def explain(self, node: int, channel: int, y: int = 0, x: int = 0) -> dict[str, Any]:
        """What a value was made of."""
        found: dict[str, Any] = self.page.evaluate("(place) => network.explain(...place)", [node, channel, y, x])
        return found


def _read(text: str, shape: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)
