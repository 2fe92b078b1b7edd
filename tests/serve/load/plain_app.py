"""A service as most people write their first: Starlette, PyTorch, one request at a time. LeNet-5 alone, from a run's weights.

`python -m tests.serve.load.plain_app RUN THREADS`. It imports nothing of gpucnn, and its answers have what those of `gpucnn serve` have.
"""

import io
import json
import socket
import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from PIL import Image
from safetensors.torch import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from torch import nn


class LeNet5(nn.Module):
    """gpucnn's LeNet-5, with its names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.output = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.output(torch.relu(self.fc2(x)))


def create_app(run: Path) -> Starlette:
    config = json.loads((run / "config.json").read_text())
    names, native, scale = config["class_names"], *(config["preprocess"][key] for key in ("native_size", "full_scale"))
    model = LeNet5(len(names))
    model.load_state_dict(load_file(run / "model.safetensors"))
    model.eval()

    async def predict(request: Request) -> JSONResponse:
        image = Image.open(io.BytesIO(await request.body())).convert("L")
        raw = np.rint(np.asarray(image.resize((native, native), Image.Resampling.BOX)) * (scale / 255))
        with torch.inference_mode():
            pixels = torch.from_numpy(raw.astype(np.float32))[None, None] / scale
            images = nn.functional.interpolate(pixels, size=(32, 32), mode="bilinear", align_corners=False)
            probabilities = torch.softmax(model(images), 1)[0].tolist()
        best = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])[:5]
        return JSONResponse(
            {"predictions": [{"class": name, "probability": probability} for name, probability in best]}
        )

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])])


if __name__ == "__main__":
    folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(create_app(Path(folder)), log_level="warning")).run(sockets=[listening])
