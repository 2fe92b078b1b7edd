"""What a service counts, as Prometheus reads it: the text format 0.0.4."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many values lie up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """As Prometheus has it: counts that add up."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum!r}"
        yield f"{name}_count {total}"


class Metrics:
    """The numbers of one service. The event loop counts requests, the model's thread batches."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds, self.batches = Histogram(SECONDS), Histogram(IMAGES)
        self.model_seconds = 0.0
        self._waiting = waiting

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.requests[route, status] += 1
        if route == "/predict":
            self.seconds.add(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch that the model has seen."""
        self.batches.add(images)
        self.model_seconds += seconds

    def text(self) -> str:
        """All of them, in the text format."""
        requests = (
            f'gpucnn_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        )
        lines = [
            *_described("requests_total", "counter", "Requests that were answered, by route and status."),
            *requests,
            *_described("predict_seconds", "histogram", "Time from the head of a request to /predict to its answer."),
            *self.seconds.lines("gpucnn_predict_seconds"),
            *_described("batch_images", "histogram", "Images that the model saw at one time."),
            *self.batches.lines("gpucnn_batch_images"),
            *_described("images_total", "counter", "Images that the model has seen."),
            f"gpucnn_images_total {int(self.batches.sum)}",
            *_described("model_seconds_total", "counter", "Time in the model."),
            f"gpucnn_model_seconds_total {self.model_seconds!r}",
            *_described("queue_images", "gauge", "Images that were accepted and have no answer yet."),
            f"gpucnn_queue_images {self._waiting()}",
        ]
        return "\n".join(lines) + "\n"


def _described(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP gpucnn_{name} {text}", f"# TYPE gpucnn_{name} {kind}"
