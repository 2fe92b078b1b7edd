"""What the batcher does when a timer is early, as those of uvloop are."""

import asyncio
from typing import Any

import numpy as np

from gpucnn.backend import Device
from gpucnn.play.ready_run import ready_run
from gpucnn.serve.batcher import Batcher
from gpucnn.serve.multipart import File
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.served_model import ServedModel
from tests.serve.answer import PATIENCE
from tests.serve.running import image, written


class Early(asyncio.SelectorEventLoop):
    """Calls a little before the time."""

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return super().call_at(when - 0.02, callback, *args, context=context)


def test_an_image_is_computed_when_the_timer_says_so_whatever_the_clock_does() -> None:
    async def answered() -> int:
        model = ServedModel("alike", lambda raw: np.full((len(raw), 10), 0.1))
        batcher = Batcher(trained, model, ServeOptions(wait_ms=50))
        batcher.arriving = 1  # a request that does not go on
        try:
            return len(await asyncio.wait_for(batcher.accept([File("", written(image(1)))], 3), PATIENCE))
        finally:
            batcher.stop()

    with ready_run() as folder:
        trained = folder.load(Device())
        with asyncio.Runner(loop_factory=Early) as runner:
            assert runner.run(answered()) == 1
