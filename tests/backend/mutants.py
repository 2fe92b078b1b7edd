"""Small changes to recorded steps, to what looks at them later, to batches that a GPU makes, and to the stand-in for it."""

from pathlib import Path

from tests.mutation import Mutant, Table

EMULATED = ["--backend", "emulated"]
GRAPH = "tests/backend/test_graph.py"
MOVED = "tests/data/test_moved_batches.py"
STREAMED = "tests/data/test_streamed.py"
TESTS_OF = {
    "backend/graph.py": [GRAPH],
    "backend/memory.py": [GRAPH],
    "backend/uploads.py": ["tests/backend/test_uploads.py"],
    "data/loader.py": [MOVED, STREAMED],
    "data/gather.py": [MOVED],
    "data/augment/moves.py": [MOVED],
    "data/array_dataset.py": [MOVED, STREAMED],
    "data/subset.py": [MOVED],
    "runs/prepare.py": [MOVED],
    "testing/cupy_graph.py": ["tests/testing/test_capture.py", GRAPH],
    "testing/cupy_stand_in.py": ["tests/testing/test_capture.py", GRAPH],
    "training/finite_guard.py": ["tests/training/test_finite_guard.py"],
    "training/metrics.py": ["tests/training/test_metrics.py"],
}
MUTANTS = [
    # A recording's memory.
    Mutant("backend/graph.py", '"pool": pool,', '"pool": cuda.cupy().cuda.MemoryPool(),'),
    Mutant("backend/graph.py", "cupy.cuda.using_allocator(pool.malloc), ", ""),
    Mutant("backend/graph.py", '    del kept["graph"]\n', ""),
    Mutant("backend/graph.py", "memory.release(device)  #", "#"),
    Mutant("backend/graph.py", "                memory.drop(pool, cupy.cuda.Device(device.index))\n", ""),
    Mutant("backend/memory.py", "            pool.free_all_blocks()\n", ""),
    Mutant("backend/memory.py", "if pool.total_bytes() == 0:", "if True:"),
    # Uploads beside a GPU's work.
    Mutant("backend/uploads.py", "own.wait_event(place.read)", "own"),
    Mutant("backend/uploads.py", "outer.wait_event(own.record(place.arrived))", "own.record(place.arrived)"),
    Mutant("backend/uploads.py", "outer.record(place.read)", "own.record(place.read)"),
    Mutant("backend/uploads.py", "                outer.record(place.read)", "                pass"),
    Mutant(
        "backend/uploads.py",
        "                place.arrived.synchronize()\n            fill",
        "                pass\n            fill",
    ),
    Mutant(
        "backend/uploads.py", "            self._places.append(place)\n", "            self._places.insert(0, place)\n"
    ),
    Mutant(
        "backend/uploads.py",
        "            with own:\n                place",
        "            with outer:\n                place",
    ),
    Mutant("backend/uploads.py", "self._places[0].here.size < size", "self._places[0].here.size < 0"),
    Mutant("backend/uploads.py", "        _wait(self._places, current(self.device))\n", ""),
    Mutant("backend/uploads.py", "            place.read.synchronize()\n", ""),
    Mutant("backend/uploads.py", "            place.read.record()  #", "            pass  #"),
    Mutant("backend/uploads.py", "        weakref.finalize(self, _wait, self._places, there)\n", ""),
    # Batches that are made on a GPU.
    Mutant("data/gather.py", "keys=self.moves.keys[self.places]", "keys=samples"),
    Mutant("data/loader.py", "else self.moves.keys[places]", "else self.moves.keys[own]"),
    Mutant(
        "data/loader.py", "places.start - self.read_from, places.stop - self.read_from", "0, places.stop - places.start"
    ),
    Mutant(
        "data/loader.py", "slice(starts[own.start], starts[own.stop])", "slice(starts[0], starts[own.stop - own.start])"
    ),
    Mutant("data/loader.py", "threads = self.workers if streams or", "threads = self.workers if"),
    Mutant("data/loader.py", "type(there.dataset) is ArrayDataset and self.collate is None", "self.collate is None"),
    Mutant("data/loader.py", "                error.add_note(_place_text(epoch, number, order.samples[places]))\n", ""),
    Mutant("data/loader.py", "Moves(moves, epoch, keys)", "Moves(moves, 0, keys)"),
    Mutant(
        "data/loader.py",
        "there.samples if order.keys is samples and not there.streams else",
        "there.samples if not there.streams else",
    ),
    Mutant("data/loader.py", "dataset.indices[samples], dataset.parent", "samples, dataset.parent"),
    Mutant("data/loader.py", "moves_of(self.augment, self.seed, size)", "moves_of(self.augment, 0, size)"),
    Mutant("data/loader.py", "self.augment is not None and there.moves is None", "self.augment is not None"),
    Mutant(
        "data/loader.py", "self.collate is not None or type(dataset) is not ArrayDataset", "self.collate is not None"
    ),
    Mutant("data/loader.py", "self.augment is None or self.collate is not None or", "self.augment is None or"),
    Mutant("data/augment/moves.py", "[*one.in_turn(own), *waiting]", "[*waiting, *one.in_turn(own)]"),
    Mutant("data/augment/moves.py", "len(moves) <= MOST_MOVES and ", ""),
    Mutant("data/augment/moves.py", "number <= MOST_PIXELS", "number > 0 or True"),
    Mutant("data/augment/moves.py", "type(one) is RandomFlip", "isinstance(one, RandomFlip)"),
    Mutant("data/augment/moves.py", 'if one.fill == "reflect" else', 'if one.fill == "zero" else'),
    Mutant("data/augment/moves.py", '"RandomShift", own,', '"RandomShift", seed,'),
    Mutant(
        "data/augment/moves.py",
        "for move in moves for number in move.numbers",
        "for move in moves[:1] for number in move.numbers",
    ),
    Mutant(
        "data/loader.py",
        "there.samples if order.keys is samples and not there.streams else",
        "there.samples if order.keys is samples else",
    ),
    Mutant("data/array_dataset.py", "count * self.labels.itemsize", "count"),
    Mutant("data/array_dataset.py", "self.images, chosen, 0, images", "self.images, np.sort(chosen), 0, images"),
    Mutant("data/array_dataset.py", "labels[...], images[...] = read", "images[...] = read.images"),
    Mutant(
        "data/array_dataset.py",
        "self.labels[places], self.images[places]",
        "self.labels[places], self.images[: len(self.labels[places])]",
    ),
    Mutant("data/array_dataset.py", "        moved._uploads = None\n", ""),
    Mutant(
        "data/array_dataset.py",
        "return self._gathered_here(indices, moves)",
        "return self._gathered_here(indices)",
    ),
    Mutant("data/array_dataset.py", "        moved.labels = moved.labels.astype(np.int64, copy=False)\n", ""),
    Mutant(
        "data/array_dataset.py",
        'if self.device.kind == "cpu" or not self.has_bytes:',
        "if not self.has_bytes:",
        equivalent="on the host the plain way of moves calls the augmentation, as the loader does",
    ),
    Mutant(
        "data/array_dataset.py", 'if self.device.kind == "cpu" or not self.has_bytes:', 'if self.device.kind == "cpu":'
    ),
    Mutant(
        "data/subset.py",
        "self.indices if isinstance(labels, np.ndarray) else self._indices_there",
        "self._indices_there",
    ),
    Mutant(
        "runs/prepare.py", "return part.streamed(device) if part.has_bytes else part", "return part.streamed(device)"
    ),
    Mutant("runs/prepare.py", "part.nbytes <= free_bytes(device) // DATA_SHARE", "part.nbytes <= free_bytes(device)"),
    # Feeds.
    Mutant("backend/graph.py", "            self._feeds.refresh()\n", ""),
    Mutant("backend/graph.py", "self._words += words", "self._words = words"),
    Mutant("backend/graph.py", "_COPIES = 3", "_COPIES = 1"),
    Mutant("backend/graph.py", "        copy.arrived.record()\n", ""),
    Mutant("backend/graph.py", "        copy.wait()\n        copy.words", "        copy.words"),
    Mutant("backend/graph.py", "        self.copies.append(self.copies.pop(0))\n", ""),
    Mutant("backend/graph.py", "np.array_equal(fresh, self._latest)", "False"),
    Mutant("backend/graph.py", "        self._latest = fresh\n", ""),
    Mutant("backend/graph.py", "if (host.dtype, host.shape) != (dtype, shape)", "if False"),
    # Its stream.
    Mutant("backend/graph.py", "        own.wait_event(outer.record(event))\n", ""),
    Mutant("backend/graph.py", "            outer.wait_event(own.record(event))\n", "            pass\n"),
    Mutant("backend/graph.py", "Stream(non_blocking=True)", "Stream()"),
    Mutant("backend/graph.py", "                own.end_capture()\n", "                pass\n"),
    Mutant("backend/graph.py", "            gc.disable()", "            pass"),
    Mutant("backend/graph.py", "                    gc.enable()", "                    pass"),
    # What such a step finds, and nobody waits for.
    Mutant("training/finite_guard.py", "self._flag is None or self._flag:", "self._flag is None:"),
    Mutant("training/finite_guard.py", "        self._flag[...] = 1\n", ""),
    Mutant("training/finite_guard.py", " & optimizer.gradients_are_finite()", ""),
    Mutant(
        "training/finite_guard.py",
        "isfinite(loss.array) & optimizer.gradients_are_finite()",
        "isfinite(loss.array) | optimizer.gradients_are_finite()",
    ),
    Mutant("training/finite_guard.py", "time.perf_counter() >= self._due", "True"),
    Mutant("training/finite_guard.py", "            yield\n            self.look()\n", "            yield\n"),
    Mutant("training/metrics.py", "before = self._counts or Counts(", "before = Counts("),
    # The stand-in.
    Mutant(
        "testing/cupy_graph.py",
        "            hidden.fill(poison(hidden.dtype))\n        with",
        "            pass\n        with",
    ),
    Mutant("testing/cupy_graph.py", "        hidden.fill(0)\n", ""),
    Mutant("testing/cupy_graph.py", "any(books.closed for", "any(False for"),
    Mutant("testing/cupy_graph.py", "any(block() is None for", "any(False for"),
    Mutant("testing/cupy_graph.py", "        self.valid = False\n", ""),
    Mutant("testing/cupy_graph.py", "self.unjoined[stream] = len(self.work)", "pass"),
    Mutant("testing/cupy_graph.py", "        if changed:", "        if False:"),
    Mutant("testing/cupy_stand_in.py", "        operand[...] = values\n", "        pass\n"),
    Mutant("testing/cupy_stand_in.py", "            capture.touch(array._block)\n", "            pass\n"),
]

TABLE = Table("graphs", Path(), MUTANTS, TESTS_OF, EMULATED, sample=8)
