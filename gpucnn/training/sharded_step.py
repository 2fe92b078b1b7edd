"""One batch of a training that is cut into shards, which several processes share."""

import hashlib
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor, watching_gradients
from gpucnn.backend import Array, current, to_device, to_host
from gpucnn.data import DataLoader
from gpucnn.data.gather import made
from gpucnn.data.pieces import Pieces, cut
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.functions.dropout import part_of_batch
from gpucnn.layers.forward_state import ForwardState
from gpucnn.training.finite_guard import FailedStep
from gpucnn.training.metrics import Metrics
from gpucnn.training.recorded_step import Work
from gpucnn.training.recorder import MOST_RECORDINGS, Wanted
from gpucnn.training.shard_payload import ShardPayload, Sums
from gpucnn.training.sharding import Sharding
from gpucnn.training.training_step import Outputs, Part, Training, TrainingStep

CHECKED_EVERY = 100
"""Steps after which processes compare their parameters, and after the last of an epoch: hashing takes as long as an update."""
PASSES_ALONE = "with shards the forward and backward passes alone are recorded, not what follows them in a step"
"""What is noted on a GPU."""


class ShardedStep(TrainingStep):
    """What a `Trainer` does with a batch that is cut.

        for each own shard     forward_and_backward, from the state at the beginning of the step
        payload                gradients, running statistics and sums: those of the whole batch, on every process
        guard, count, update   as in `TrainingStep`, on equal numbers everywhere

    Each shard's forward and backward pass is recorded and replayed, on a GPU, too. On a CPU the replay stops where slices of
    the payload are final, which are sent then, as without a recording. A CUDA graph is one launch, so there they follow it.
    """

    def __init__(self, trainer: Training, graph: Wanted, sharding: Sharding) -> None:
        super().__init__(trainer, graph)
        self._sharding = sharding
        self.recorder.most = 2 * MOST_RECORDINGS  # shards of a batch are of two sizes, and take a part of its memory
        self._payload = ShardPayload(sharding, trainer.model, trainer.optimizer)
        self._scores = Metrics()

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Any, Any]]:
        """Of the batches of an epoch what this process computes."""
        loader = self._trainer.train_loader
        self._see_that_samples_are_alike(loader, epoch)
        return loader.sharded(epoch, first, self._sharding.shards, self._sharding.own, self.gathers)

    def run(self, images: Any, labels: Any, metrics: Metrics | None) -> Outputs | None:
        """See `TrainingStep.run`; images and labels are whole, or `Pieces`. The logits are those of the own shards."""
        trainer, batch = self._trainer, self._trainer.batch + 1
        images, labels = self._pieces(images, labels)
        if trainer.device.kind != "cpu" and self.recorder.graph is not False and PASSES_ALONE not in trainer.notes:
            self._note(PASSES_ALONE)
        self.recorder.follow(trainer.model, trainer.optimizer)
        trainer.gradient_mean.follow(trainer.optimizer)
        part = Part(metrics, batch % trainer.accumulate == 0 or batch == len(trainer.train_loader))
        self._payload.lay_out(trainer.model, trainer.optimizer)
        before = ForwardState(trainer.model)
        logits = [self._shard(shard, images, labels, before) for shard in self._sharding.own]
        sums = self._payload.read(len(images))
        self._after_forward(images.sizes)
        self._sharding.agree(bool(sums.terminated), bool(sums.interrupted))
        loss = self._tensor(sums.loss / sums.positions)
        trainer.loss = loss
        if not trainer.guard.passes(loss, trainer.optimizer):
            before.restore()
            return None
        self._count_step(part, len(images))
        if metrics is not None:
            metrics.add_sums(sums.loss, sums.correct, sums.positions, loss)
        self._update_step(part, len(images))
        if part.ends:
            trainer.gradient_mean.forget()
            self._look_back()
            self._compare()
        computed = [one for one in logits if one is not None]
        with current(trainer.device):
            joined = trainer.device.xp.concatenate(computed) if computed else trainer.device.xp.zeros((0, 0))
        return Outputs(loss, Tensor(joined), labels)

    def forward_and_backward(self, images: Array, labels: Array) -> Outputs:
        """See `TrainingStep.forward_and_backward`. After a failure nothing more is sent early: it may be made again, or a part."""
        try:
            return super().forward_and_backward(images, labels)
        except Exception:
            self._payload.hold()
            raise

    def backward(self, loss: Tensor) -> None:
        """The backward pass, while which the payload sends what is final."""
        with watching_gradients(self._payload):
            loss.backward()

    def failure(self, place: str, loss: float, images: Any, labels: Any, indices: np.ndarray) -> FailedStep:
        """The first shard that is not finite by itself, looked at on every process; the first of all, if each is finite."""
        images, labels = self._pieces(images, labels)
        candidates = []
        for shard, own in images.arrays.items():
            first = images.first(shard)
            batch = *made(own, labels.arrays[shard]), indices[first : first + len(own)]
            is_found = self._looked_at(place, loss, batch, first).is_found
            candidates.append((is_found, shard, tuple(to_host(one) for one in batch)))
        everywhere = [one for some in self._sharding.group.gather(candidates) for one in some]
        _, shard, batch = min(everywhere, key=lambda one: (not one[0], one[1]))
        return self._looked_at(place, loss, batch, images.first(shard))

    def _pieces(self, images: Any, labels: Any) -> tuple[Pieces, Pieces]:
        """What this process computes of a batch, which may be whole."""
        if isinstance(images, Pieces):
            return images, labels
        shards, own = self._sharding.shards, self._sharding.own
        return cut(images, shards, own), cut(labels, shards, own)

    def _shard(self, shard: int, images: Pieces, labels: Pieces, before: ForwardState) -> Array | None:
        """Compute a shard, and write what came of it; its logits, which a recording does not write over."""
        trainer, sharding = self._trainer, self._sharding
        asked = sharding.signal if shard == sharding.own[0] else None
        signals = (int(asked == signal.SIGTERM), int(asked == signal.SIGINT))
        if shard not in images.arrays:
            self._payload.begin(shard, 0)
            self._payload.write(Sums(0, 0, 0, *signals))
            return None
        own, right = images.arrays[shard], labels.arrays[shard]
        before.restore()
        self._payload.begin(shard, len(own))
        with part_of_batch(images.first(shard), len(own)):
            work = Work[Outputs | None](self.forward_and_backward, self._computed, settings=trainer.label_smoothing)
            work, inputs = self._gathering.work(work, own, right)
            outputs = self.recorder.do(work, inputs, trainer.device)
        assert outputs is not None
        self._scores.reset()
        self._scores.update(outputs.loss, outputs.logits, outputs.labels)
        loss_sum, correct = (array.item() for array in self._scores.arrays())
        self._payload.write(Sums(loss_sum, correct, self._scores.total, *signals))
        with current(trainer.device):
            logits: Array = outputs.logits.array.copy()
        return logits

    def _after_forward(self, sizes: tuple[int, ...]) -> None:
        """Have processes whose shards are all without images count as the others do: what layers declare comes from rank 0."""
        sharding, model = self._sharding, self._trainer.model
        if sizes[-1] or sharding.group.size == 1:
            return
        declared = {path: state for path, layer in model.named_layers() if (state := layer.forward_state())}
        first = sharding.group.gather(declared)[0]
        for path, layer in model.named_layers():
            if path in first:
                layer.set_forward_state(first[path])

    def _see_that_samples_are_alike(self, loader: DataLoader, epoch: int) -> None:
        """ArgumentError that names a process whose epoch has other samples than the first one's."""
        group = self._sharding.group
        if group.size == 1:
            return
        digests = group.gather(hashlib.sha256(loader.indices(epoch).tobytes()).hexdigest())
        for rank, one in enumerate(digests):
            if one != digests[0]:
                raise ArgumentError(
                    f"DataLoader: epoch {epoch} has other samples on rank {rank} than on rank 0; give all processes the same data "
                    f"and seed, and a sampler that is a function of the epoch"
                )

    def _compare(self) -> None:
        """TrainingError that names the process whose parameters are not those of the first."""
        trainer, group = self._trainer, self._sharding.group
        is_due = trainer.step % CHECKED_EVERY == 0 or trainer.batch == len(trainer.train_loader)
        if group.size == 1 or not is_due:
            return
        digest = hashlib.sha256()
        for buffer in trainer.optimizer.flat_buffers():
            digest.update(to_host(buffer.data).tobytes())
        digests = group.gather(digest.hexdigest())
        for rank, one in enumerate(digests):
            if one != digests[0]:
                raise TrainingError(
                    f"after step {trainer.step} the parameters of rank {rank} are not those of rank 0: one of their machines "
                    f"computes wrongly, or other processors or versions; go on from the last checkpoint without it"
                )

    def _tensor(self, value: float) -> Tensor:
        device, dtype = self._trainer.device, self._trainer.optimizer.flat_buffers()[0].dtype
        return Tensor(to_device(np.array(value, dtype), device))
