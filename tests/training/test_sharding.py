"""Batches that are cut into shards: the same bytes on any number of processes, and the mathematics of one batch."""

import hashlib
import json
import signal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gpucnn import data, layers, optim, training
from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.data.pieces import shard_sizes
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.functions.dropout import part_of_batch
from gpucnn.training import Callback, Trainer
from gpucnn.training.shard_payload import ShardPayload, Sums
from gpucnn.training.sharded_step import PASSES_ALONE
from gpucnn.training.sharding import Sharding
from tests.backend.thread_group import on_ranks
from tests.backends import Backend
from tests.training.small_run import small_model
from tests.training.test_captured_equals_eager import make_model

Shaped = Callable[[Group], Trainer]


def images(count: int, seed: int = 0, size: int = 4) -> data.ArrayDataset:
    draw = np.random.default_rng(seed)
    pixels = draw.standard_normal((count, 1, size, size)).astype(np.float32)
    return data.ArrayDataset(pixels, draw.integers(0, 3, count))


def trainer(
    group: Group | None = None,
    shards: int = 4,
    device: str = "cpu",
    model: layers.Layer | None = None,
    loader: dict[str, Any] | None = None,
    average: bool = False,
    frozen: Sequence[int] = (),
    **options: Any,
) -> Trainer:
    """With batch norm, dropout, augmentation, and a last batch of 3 of which not every shard has an image."""
    model = small_model() if model is None else model
    model.to(device)
    for position in frozen:
        model[position].requires_grad_(False)  # type: ignore[index]
    chosen: dict[str, Any] = {"shuffle": True, "seed": 3, "augment": data.RandomShift(1)} | (loader or {})
    if "batch_sampler" not in chosen:
        chosen.setdefault("batch_size", 10)
    return Trainer(
        model,
        optim.SGD([one for one in model.parameters() if one.requires_grad], 0.1, 0.9, weight_decay=1e-3),
        data.DataLoader(images(23), **chosen),
        sharding=Sharding(shards, SingleProcess() if group is None else group),
        average=optim.WeightAverage(model, 0.9) if average else None,
        **options,
    )


def digest(one: Trainer) -> str:
    arrays, values = one.state()
    found = hashlib.sha256()
    for name in sorted(arrays):
        assert np.isfinite(arrays[name]).all()
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode() + arrays[name].tobytes())
    found.update(json.dumps(values, sort_keys=True).encode())
    return found.hexdigest()


def trained(group: Group | None, epochs: int = 2, **options: Any) -> str:
    one = trainer(group, **options)
    one.fit(epochs)
    return digest(one)


def plain_conv() -> layers.Layer:
    """Without what depends on a batch's other images."""
    return layers.Sequential(layers.Conv2d(1, 2, 3), layers.ReLU(), layers.Flatten(), layers.Linear(8, 3))


class Checkpointed(layers.Layer):
    def __init__(self) -> None:
        self.inner = layers.Checkpoint(
            layers.Sequential(layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.Dropout2d(0.4), layers.ReLU())
        )
        self.branch = layers.StochasticDepth(0.3)
        self.head = layers.Linear(16, 3)

    def forward(self, x: Any) -> Tensor:
        return self.head(F.flatten(self.branch(self.inner(x))))


def of_float64() -> layers.Layer:
    model = small_model()
    return model.astype("float64")


def random_batches(epoch: int) -> list[list[int]]:
    order = np.random.default_rng(epoch).permutation(23).tolist()
    return [order[:9], order[9:11], order[11:]]


VAL = lambda: data.DataLoader(images(7, 5), 2)  # noqa: E731
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped by norm, averaged, mixed": {
        "clip_norm": 0.5,
        "average": True,
        "loader": {"mix": data.Mixup(0.4)},
        "label_smoothing": 0.1,
    },
    "clipped by value, cut and pasted, accumulated": {
        "clip_value": 0.01,
        "accumulate": 2,
        "loader": {"mix": data.CutMix(1.0)},
    },
    "measured": {"val_loader": VAL, "schedule": lambda: optim.ReduceOnPlateau(0.1, patience=0, threshold=0.9)},
    "scheduled, weighted, with threads": {
        "schedule": lambda: optim.cosine(0.1, 6),
        "loader": {"weights": np.array([1.0, 2.0, 3.0]), "shuffle": False, "workers": 2},
    },
    "sampled": {"loader": {"batch_sampler": random_batches, "shuffle": False}},
    "computed again": {"model": Checkpointed},
    "frozen": {"frozen": (0, 1)},
    "three shards, not recorded": {"shards": 3, "graph": False},
    "float64": {"model": of_float64},
    "tf32": {"precision": "tf32"},
    "bf16, recorded": {"precision": "bf16", "model": plain_conv, "shards": 3},
}


def options_of(case: str) -> dict[str, Any]:
    """Those that have a state are made anew for each rank."""
    made = ("val_loader", "schedule", "model")
    return {name: value() if name in made else value for name, value in CASES[case].items()}


@pytest.mark.sample(4)
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_processes_gives_the_same_bytes(case: str) -> None:
    expected = trained(None, **options_of(case))
    for size in (2, 3):
        assert on_ranks(size, lambda group: trained(group, **options_of(case))) == [expected] * size


def test_so_on_every_backend(backend: Backend) -> None:
    graph: Any = "auto" if backend.on_cpu else False  # threads that stand for processes share the one GPU's capture
    with backend.active():
        found = [
            set(on_ranks(size, lambda group: trained(group, device=backend.device_name, average=True, graph=graph)))
            for size in (1, 2, 4)
        ]
    assert found == [found[0]] * 3
    assert len(found[0]) == 1


def test_steps_are_recorded_and_give_the_same_bits(backend: Backend) -> None:
    """Each shard by itself, of up to four sizes. Masks are not drawn by compiled loops, so on a CPU without them."""
    records = backend.name in ("jit", "emulated", "cupy")
    found = []
    with backend.active():
        for graph in (True if records else "auto", False):
            model = make_model(0.0 if backend.on_cpu else 0.3)
            one = trainer(shards=3, device=backend.device_name, model=model, graph=graph, loader={"batch_size": 11})
            one.fit(4)
            found.append((digest(one), one.training_step.recorder.recordings))
            assert one.notes == ([] if backend.on_cpu or not graph else [PASSES_ALONE])
    assert found[0][0] == found[1][0]
    assert found[0][1] == (3 if records else 0)
    assert found[1][1] == 0


def test_shards_are_one_batch_but_for_rounding() -> None:
    """Gradients of four shards, without batch norm and dropout, are those of the whole batch; also with empty shards."""
    for count in (10, 3, 4, 1):
        found = []
        for shards in (1, 4):
            one = trainer(shards=shards, model=plain_conv(), graph=False, label_smoothing=0.1)
            pixels, labels = images(count, 8)[np.arange(count)]
            one.train_step(pixels, labels)
            found.append([one.loss.item(), *[parameter.grad.copy() for parameter in one.model.parameters()]])  # type: ignore[union-attr]
        for whole, cut in zip(*found, strict=True):
            assert np.isfinite(cut).all()
            np.testing.assert_allclose(cut, whole, rtol=2e-5, atol=1e-7)


def test_scores_of_an_epoch_are_those_of_whole_batches() -> None:
    rows = []
    for shards in (1, 5):
        one = trainer(shards=shards, model=plain_conv(), loader={"shuffle": False})
        one.optimizer.lr = 0.0
        rows.append(one.fit(1)[0])
    assert rows[0]["train_accuracy"] == rows[1]["train_accuracy"]
    assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=1e-5)


def test_counts_are_whole_numbers_however_many_positions_there_are() -> None:
    """float32 has every second one alone from 2^24 on; a step has to have so many for that: it is told of them."""
    sharding = Sharding(3)
    one = trainer(shards=3, model=plain_conv(), graph=False)
    payload = ShardPayload(sharding, one.model, one.optimizer)
    payload.lay_out(one.model, one.optimizer)
    given = [Sums(1.5, 2**24 + 1, 2**25 + 1, 0, 1), Sums(0.5, 4095, 4097, 1, 1), Sums(0.25, 2**30 + 3, 2**31 + 5, 0, 0)]
    for shard, sums in enumerate(given):
        payload.begin(shard, 1)
        payload.write(sums)
    assert payload.read(3) == tuple(map(sum, zip(*given, strict=True)))


def test_what_an_empty_shard_finds_in_the_gradients_is_nobodys() -> None:
    """That is of the shard before, or of the batch before: it may have overflowed elsewhere alone."""
    one = trainer(shards=2, model=plain_conv(), graph=False)
    payload = ShardPayload(Sharding(2), one.model, one.optimizer)
    payload.lay_out(one.model, one.optimizer)
    (buffer,) = one.optimizer.flat_buffers()
    buffer.fill(set(one.optimizer.parameters.values()))
    payload.begin(0, 2)
    buffer.gradient[...] = 3
    payload.write(Sums(0, 0, 2, 0, 0))
    payload.begin(1, 0)
    buffer.gradient[...] = np.inf
    payload.write(Sums(0, 0, 0, 0, 0))
    payload.read(2)
    np.testing.assert_array_equal(buffer.gradient, np.full(buffer.gradient.shape, 3, np.float32))


@pytest.mark.parametrize("size", [1, 3])
def test_running_statistics_are_the_mean_over_images(size: int) -> None:
    """7 images in 3 shards of 3, 2 and 2: against the definition, in float64."""
    pixels, labels = images(7, 2)[np.arange(7)]

    def found(group: Group) -> list[np.ndarray]:
        one = trainer(group, 3, model=layers.Sequential(layers.BatchNorm2d(1), layers.Flatten(), layers.Linear(16, 3)))
        norm = one.model[0]  # type: ignore[index]
        norm.running_mean.data = np.array([0.25], np.float32)
        one.train_step(pixels, labels)
        return [norm.running_mean.array.copy(), norm.running_var.array.copy()]

    mean, variance = 0.0, 0.0
    exact = pixels.astype(np.float64)
    for part in (exact[:3], exact[3:5], exact[5:]):
        mean += len(part) / 7 * (0.9 * 0.25 + 0.1 * part.mean())
        variance += len(part) / 7 * (0.9 * 1 + 0.1 * part.var(ddof=1))
    for one in on_ranks(size, found):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(np.ravel(one), [mean, variance], rtol=3e-6)


class Counted(layers.Layer):
    """Keeps what a batch leaves as it is, what counts, and what is infinite."""

    def __init__(self) -> None:
        self.still = layers.Buffer(np.array([0.1, -0.0, np.inf, 1e30], np.float32))
        self.seen = layers.Buffer(np.array(7, np.int8))
        self.ready = layers.Buffer(np.array(True))
        self.head = layers.Linear(16, 3)

    def forward(self, x: Any) -> Tensor:
        if self.training:
            self.seen.data = self.seen.array + np.int8(1)
        return self.head(F.flatten(x))


def test_what_stays_as_it_is_keeps_its_bits_and_what_counts_counts_once() -> None:
    still = Counted().still.array.tobytes()

    def found(group: Group) -> Trainer:
        one = trainer(group, 3, model=Counted(), loader={"batch_size": 23})
        one.fit(3)
        return one

    for one in on_ranks(2, found):
        assert one.model.still.array.tobytes() == still  # type: ignore[union-attr]
        assert one.model.seen.array == 10  # type: ignore[union-attr]
        assert one.model.seen.array.dtype == np.int8
        assert one.model.ready.array.dtype == bool


class Moving(layers.Layer):
    """Keeps the mean of the images that it has seen, as batch norm does, in its array or in another one each time."""

    def __init__(self, in_place: bool) -> None:
        self.mean = layers.Buffer(np.array([0.25], np.float32))
        self.head = layers.Linear(16, 3)
        self.in_place = in_place

    def forward(self, x: Any) -> Tensor:
        if self.training:
            new = self.mean.array * np.float32(0.9) + np.float32(0.1) * x.array.mean()
            if self.in_place:
                self.mean.array[...] = new
            else:
                self.mean.data = new
        return self.head(F.flatten(x))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_statistics_in_another_array_each_time_are_the_mean_too(size: int) -> None:
    """The last batch has 3 images, so that the last of four processes computes none of it."""

    def mean(group: Group, in_place: bool) -> bytes:
        one = trainer(group, model=Moving(in_place))
        one.fit(2)
        found = one.model.mean.array  # type: ignore[union-attr]
        assert np.isfinite(found).all()
        return bytes(found.tobytes())

    expected = mean(SingleProcess(), True)
    assert expected != np.array([0.25], np.float32).tobytes()
    assert on_ranks(size, lambda group: mean(group, False)) == [expected] * size


class Counting(layers.Layer):
    def __init__(self) -> None:
        self.seen = layers.Buffer(np.array(7, np.int64))
        self.head = layers.Linear(16, 3)

    def forward(self, x: Any) -> Tensor:
        if self.training:
            self.seen.data = self.seen.array + 1
        return self.head(F.flatten(x))


def test_a_buffer_that_gets_another_array_in_each_pass_counts_where_steps_are_recorded(backend: Backend) -> None:
    """Shards of one size come one after the other, so that the third of them could be recorded; a replay would not count."""
    with backend.active():
        one = trainer(
            shards=4, device=backend.device_name, model=Counting(), loader={"batch_size": 20, "drop_last": True}
        )
        one.fit(3)
        assert to_host(one.model.seen.array) == 10  # type: ignore[union-attr]
    records = backend.name in ("jit", "emulated", "cupy")
    told = "not recorded: seen gets another array in a forward pass, which a replay would not give it; write into the one that"
    assert any(told in note for note in one.notes) is records


@pytest.mark.parametrize("kind", ["dropout", "dropout2d", "stochastic_depth"])
def test_masks_of_parts_are_parts_of_the_mask(kind: str, backend: Backend) -> None:
    """Whatever the place of a part in a block of eight words; there, and on the way back."""
    drop = getattr(F, kind)
    with backend.active():
        shape = (11, 3, 5, 1)
        whole = to_host(drop(Tensor(backend.array(np.ones(shape, np.float32))), 0.4, seed=5, counter=2).array)
        assert 0 < (whole == 0).sum() < whole.size
        for first, count in [(0, 11), (0, 1), (1, 2), (3, 8), (10, 1)]:
            x = Tensor(backend.array(np.ones((count, *shape[1:]), np.float32)), requires_grad=True)
            with part_of_batch(first, count):
                found = drop(x, 0.4, seed=5, counter=2)
                found.sum().backward()
            assert np.array_equal(to_host(found.array), whole[first : first + count])
            assert np.array_equal(to_host(x.grad), whole[first : first + count])


def test_a_mask_without_an_axis_of_images_is_that_of_all_parts() -> None:
    whole = F.dropout(np.ones((5, 7), np.float32), 0.5, seed=1).array
    with part_of_batch(3, 4):
        assert np.array_equal(F.dropout(np.ones((5, 7), np.float32), 0.5, seed=1).array, whole)


def test_masks_do_not_depend_on_the_number_of_shards(backend: Backend) -> None:
    """Without batch norms all numbers of shards train alike, but for rounding; where steps are recorded, in replays, too."""

    def weights(shards: int) -> np.ndarray:
        model = layers.Sequential(layers.Flatten(), layers.Dropout(0.5), layers.Linear(16, 3))
        loader = {"batch_size": 11, "drop_last": True}
        one = trainer(shards=shards, device=backend.device_name, model=model, loader=loader)
        one.fit(6)
        return np.array(to_host(model[2].weight.array))

    with backend.active():
        expected = weights(1)
        for shards in (2, 3, 5):
            found = weights(shards)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_stopped_training_goes_on_with_another_number_of_processes() -> None:
    class StopAt(Callback):
        def on_savepoint(self, one: Trainer) -> None:
            if one.step == 4:
                kept.append(one.state())
                raise KeyboardInterrupt

    kept: list[Any] = []
    expected = trained(None, 3)

    def begin(group: Group) -> None:
        with pytest.raises(KeyboardInterrupt):
            trainer(group, callbacks=[StopAt()]).fit(3)

    on_ranks(3, begin)
    assert len(kept) == 3

    def go_on(group: Group) -> str:
        one = trainer(group)
        one.restore(*kept[0])
        one.fit(3 - one.epoch)
        return digest(one)

    for size in (1, 2, 4):
        assert on_ranks(size, go_on) == [expected] * size


def test_an_evaluation_is_equal_to_the_bit_on_all_processes() -> None:
    model = trainer().model
    expected = training.evaluate(model, VAL(), worst=2)

    def found(group: Group) -> training.Evaluation:
        return training.evaluate(trainer().model, VAL(), worst=2, group=group)

    for size in (2, 3, 5):  # more ranks than the four batches
        for one in on_ranks(size, found):
            assert (one.loss, one.correct, one.total, one.worst) == (
                expected.loss, expected.correct, expected.total, expected.worst
            )  # fmt: skip
            assert np.array_equal(one.confusion.counts, expected.confusion.counts)
            assert one.samples.loss.tobytes() == expected.samples.loss.tobytes()


def spoilt(where: int, epochs: int = 2, **options: Any) -> Callable[[Group], tuple[str, Any]]:
    """A NaN in one image alone, which one rank alone computes."""

    def work(group: Group) -> tuple[str, Any]:
        pixels, labels = images(23)[np.arange(23)]
        pixels = pixels.copy()
        pixels[where, 0, 1, 2] = np.nan
        one = trainer(group, loader={"shuffle": False, "augment": None}, **options)
        one.train_loader.dataset = data.ArrayDataset(pixels, labels)
        before = digest_of_weights(one) if where < 10 else ""
        with pytest.raises(TrainingError) as caught:
            one.fit(epochs)
        assert one.failed_step is not None
        assert where in one.failed_step.indices
        if before:
            assert digest_of_weights(one) == before
        return str(caught.value), one.failed_step.indices.tolist()

    return work


def digest_of_weights(one: Trainer) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in one.model.state_dict().values())).hexdigest()


@pytest.mark.parametrize("where", [0, 9, 21])
def test_what_is_not_finite_on_one_process_is_the_same_error_on_all(where: int) -> None:
    expected = spoilt(where)(SingleProcess())
    assert where in expected[1]
    assert len(expected[1]) <= 3
    assert f"batch {where // 10 + 1})" in expected[0]
    for size in (2, 4):
        assert on_ranks(size, spoilt(where)) == [expected] * size


def test_a_shard_of_one_image_is_refused_before_the_first_step_where_a_norm_needs_two() -> None:
    def model() -> layers.Layer:
        return layers.Sequential(layers.Flatten(), layers.BatchNorm1d(16), layers.Linear(16, 3))

    with pytest.raises(ArgumentError, match=r"batch 3 of an epoch has 3 images, which in 3 shards leave one alone: .*"
                       r"use fewer shards or another batch_size, or drop_last to leave the last batch out"):  # fmt: skip
        trainer(shards=3, model=model()).fit(1)
    with pytest.raises(
        ArgumentError, match=r"batch 1 of an epoch has 10 images, which in 6 shards leave one alone"
    ) as caught:
        trainer(shards=6, model=model()).fit(1)
    assert "drop_last" not in str(caught.value)
    dropped = trainer(shards=3, model=model(), loader={"drop_last": True})
    dropped.fit(1)
    assert dropped.step == 2
    trainer(shards=2, model=model(), loader={"batch_size": 9}).fit(1)


@pytest.mark.parametrize(("sent", "expected"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_signal_to_one_process_is_known_to_all_after_the_same_step(sent: int, expected: int) -> None:
    def found(group: Group) -> list[int]:
        class Asks(Callback):
            def on_batch_end(self, one: Trainer) -> None:
                if one.sharding.stop_signal is not None:
                    seen.append(one.step)
                    assert one.sharding.stop_signal == expected
                if one.step == 2 and group.rank == 2:
                    one.sharding.signal = sent

        seen: list[int] = []
        trainer(group, callbacks=[Asks()]).fit(2)
        return seen

    assert on_ranks(3, found) == [[3, 4, 5, 6]] * 3


def test_a_sampler_that_gives_each_process_other_samples_is_refused() -> None:
    def work(group: Group) -> None:
        sampler = lambda epoch: np.random.default_rng(group.rank).permutation(23)  # noqa: E731
        trainer(group, loader={"sampler": sampler, "shuffle": False}).fit(1)

    with pytest.raises(
        ArgumentError, match="epoch 0 has other samples on rank 1 than on rank 0; .* a function of the epoch"
    ):
        on_ranks(2, work)


def test_another_model_and_optimizer_are_followed() -> None:
    same_order = {"shuffle": False, "augment": None}
    one, other, fresh = (trainer(model=model, loader=same_order) for model in (None, plain_conv(), plain_conv()))
    one.fit(1)
    one.model, one.optimizer = other.model, other.optimizer
    one.fit(1)
    fresh.fit(1)
    assert digest_of_weights(one) == digest_of_weights(fresh)


def test_fewer_shards_than_processes_are_refused() -> None:
    with pytest.raises(
        ArgumentError, match="shards=2 for 3 processes: .* use shards=3 or more, or start fewer processes"
    ):
        on_ranks(3, lambda group: Sharding(2, group))


class OwnLoader:
    """Gives batches, and no parts of them."""

    batch_size = 5

    def __len__(self) -> int:
        return 1

    def images_in(self, batches: int) -> int:
        return 5 * batches

    def batches(self, epoch: int, first: int = 0) -> Any:
        yield images(5)[np.arange(5)]


def test_what_cannot_be_shared_is_refused() -> None:
    model, loader, own = plain_conv(), data.DataLoader(images(5), 5), OwnLoader()
    optimizer = optim.SGD(model.parameters(), 0.1)
    fix = r"with shards or several processes it must be a data.DataLoader, .*OwnLoader .*make one of its samples"
    for given, message in (
        ((loader, None, 4), r"Trainer: sharding must be a Sharding or None, got 4; .* give Sharding\(4\)"),
        ((own, None, Sharding(2)), f"Trainer: train_loader: {fix}"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Trainer(model, optimizer, given[0], given[1], sharding=given[2])  # type: ignore[arg-type]
    Trainer(model, optimizer, loader, own, sharding=Sharding(2)).fit(1)  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentError, match="Sharding: group must be a group of processes or None, got 3; give that of"
    ):
        Sharding(4, 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="evaluate: group must be a group"):
        training.evaluate(model, loader, group=3)  # type: ignore[arg-type]

    def refused(group: Group) -> None:
        with pytest.raises(ArgumentError, match=f"Trainer: test_loader: {fix}"):
            Trainer(model, optimizer, loader, own, sharding=Sharding(2, group))  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match=f"evaluate: {fix}"):
            training.evaluate(model, own, group=group)  # type: ignore[arg-type]

    on_ranks(2, refused)


def test_shards_are_cut_as_numpy_cuts() -> None:
    for count in range(1, 14):
        for shards in range(1, 9):
            assert list(shard_sizes(count, shards)) == [len(one) for one in np.array_split(np.zeros(count), shards)]


def test_mixed_images_have_partners_in_their_shard() -> None:
    """Each shard has labels of its own class alone, so that partners show."""
    labels = np.repeat([0, 1, 2], 4)
    pixels = np.ones((12, 1, 4, 4), np.float32) * labels[:, None, None, None].astype(np.float32)
    loader = data.DataLoader(data.ArrayDataset(pixels, labels), 12, mix=data.Mixup(1.0))
    ((found, soft),) = loader.sharded(0, 0, 3, range(3))
    for shard in range(3):
        assert np.array_equal(soft.arrays[shard].argmax(axis=1), [shard] * 4)
        assert np.allclose(found.arrays[shard], shard)
