"""Small changes to what feeds and steers training that tests must notice: a run would still learn, and be wrong."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change: `old`, which stands in the file once, becomes `new`."""

    file_name: str
    old: str
    new: str


LOADER = "tests/data/test_loader.py"
SUBSET = "tests/data/test_subset.py"
TRAINER = "tests/training/test_trainer.py"
STATE = "tests/training/test_trainer_state.py"
FEW_STATES = [f"{STATE}::test_going_on_on_every_backend[numpy]", f"{STATE}::test_a_rate_that_a_callback_set_comes_back"]
FORMS = "tests/data/test_forms.py"
TRANSFORMS = "tests/data/augment"
TESTS_OF = {
    "data/array_dataset.py": ["tests/data/test_data_sets.py", LOADER],
    "data/loader.py": [LOADER],
    "data/sampling.py": [LOADER],
    "data/subset.py": [SUBSET],
    "data/preprocess.py": ["tests/data/test_data_sets.py", "tests/data/test_normalization.py"],
    "data/augment/draws.py": [f"{TRANSFORMS}/test_every_transform.py", f"{TRANSFORMS}/test_moves.py"],
    "data/augment/mixup.py": [f"{TRANSFORMS}/test_mixes.py"],
    "data/augment/mix.py": [f"{TRANSFORMS}/test_mixes.py"],
    "data/emnist.py": [FORMS],
    "data/svhn.py": ["tests/data/test_svhn.py"],
    "data/cifar.py": [FORMS],
    "data/mnist.py": [FORMS],
    "data/digit_csv.py": [FORMS],
    "data/plain_pickle.py": ["tests/data/test_plain_pickle.py"],
    "data/ink.py": ["tests/data/test_transparency.py"],
    "optim/schedule.py": ["tests/optim/test_schedule.py"],
    "optim/clip.py": ["tests/optim/test_clip.py"],
    "optim/optimizer.py": [*FEW_STATES, "tests/optim/test_optimizers.py"],
    "optim/weight_average.py": ["tests/optim/test_weight_average.py", *FEW_STATES],
    "layers/normalization.py": ["tests/layers/test_normalization.py", *FEW_STATES],
    "training/trainer.py": [TRAINER, *FEW_STATES, STATE],
    "training/trainer_state.py": [*FEW_STATES, STATE],
    "training/gradient_mean.py": [TRAINER],
    "training/metrics.py": [TRAINER, *FEW_STATES],
    "training/evaluate.py": [TRAINER, "tests/training/test_evaluate.py"],
    "training/run_folder.py": ["tests/training/test_run_folder.py"],
    "training/checkpoint.py": ["tests/training/test_checkpoint.py"],
    "training/early_stopping.py": ["tests/training/test_early_stopping.py"],
}
"""What is run for a change in a file."""

MUTANTS = [
    # Images and labels.
    Mutant("data/array_dataset.py", "self.labels[chosen].astype", "self.labels[chosen - 1].astype"),
    Mutant("data/array_dataset.py", "images = self.preprocess(images)", "self.preprocess(images)"),
    Mutant("data/loader.py", "images, labels = self.dataset[order_there[places]]", "images, labels = self.dataset[order_there[places]]; labels = labels[::-1]"),
    Mutant("data/loader.py", "(1 if rest and not self.drop_last else 0)", "0"),
    Mutant("data/loader.py", "range(_from_zero(first, \"first\"), len(self))", "range(_from_zero(first, \"first\"), len(self) - 1)"),
    Mutant("data/loader.py", "range(_from_zero(first, \"first\"), len(self))", "range(len(self))"),
    Mutant("data/loader.py", "(batch + 1) * self.batch_size)", "(batch + 1) * self.batch_size - 1)"),
    Mutant("data/loader.py", "generator(self.seed, \"shuffle\", epoch)", "generator(self.seed, \"shuffle\", 0)"),
    Mutant("data/loader.py", "generator(self.seed, \"shuffle\", epoch)", "generator(0, \"shuffle\", epoch)"),
    Mutant("data/loader.py", "self.augment(images, order.keys[places], self.seed, epoch)", "self.augment(images, order.keys[places], self.seed, 0)"),
    Mutant("data/loader.py", "self.augment(images, order.keys[places], self.seed, epoch)", "self.augment(images, np.arange(len(images)), self.seed, epoch)"),
    Mutant("data/loader.py", "self.mix(images, labels, keys, self.seed, epoch, classes)", "self.mix(images, labels, keys, self.seed, 0, classes)"),
    Mutant("data/loader.py", "samples + count * occurrences(samples)", "samples"),
    Mutant("data/sampling.py", "generator(seed, \"weighted sampling\", epoch)", "generator(seed, \"weighted sampling\", 0)"),
    Mutant("data/sampling.py", "side=\"right\"", "side=\"left\""),
    Mutant("data/subset.py", "np.flatnonzero(~is_first)", "np.flatnonzero(is_first | (np.arange(len(is_first)) % 7 == 0))"),
    Mutant("data/subset.py", "np.flatnonzero(~is_first)", "np.arange(len(is_first))"),
    Mutant("data/subset.py", "stratified_choice(to_host(dataset.labels), count, seed, \"split\")", "stratified_choice(to_host(dataset.labels), count, 0, \"split\")"),
    Mutant("data/subset.py", "chosen[members[order[:number]]] = True", "chosen[members[:number]] = True"),
    Mutant("data/preprocess.py", "normalize(fitted, self.mean, self.std)", "normalize(fitted, self.mean, self.mean)"),
    Mutant("data/emnist.py", "part.swapaxes(2, 3).copy()", "part.copy()"),
    Mutant("data/emnist.py", "{\"letters\": 1}", "{}"),
    Mutant("data/emnist.py", "range(0, len(images), CHUNK)", "range(0, len(images) - 1, CHUNK)"),
    Mutant("data/svhn.py", "(flat % 10)", "(flat - 1)"),
    Mutant("data/svhn.py", "images.transpose(3, 2, 0, 1)", "images.transpose(3, 2, 1, 0)"),
    Mutant("data/cifar.py", "1 - place", "place"),
    Mutant("data/cifar.py", "sorted(folder.glob(\"data_batch_[0-9]\"))", "sorted(folder.glob(\"data_batch_[0-9]\"))[::-1]"),
    Mutant("data/mnist.py", "images[~is_test], labels[~is_test]", "images, labels"),
    Mutant("data/mnist.py", "for images, labels in (found[:2], found[2:])", "for images, labels in (found[:2], found[:2])"),
    Mutant("data/digit_csv.py", "rows[:, 1:].astype", "rows[:, :-1].astype"),
    Mutant("data/plain_pickle.py", "if called not in _MAKERS:", "if False:"),
    Mutant("data/plain_pickle.py", "order=\"F\" if is_fortran is True else \"C\"", "order=\"C\""),
    Mutant("data/ink.py", "cover[light < 128]", "cover[light >= 128]"),
    Mutant("data/ink.py", "grey.mean() > middle and np.median(edge) > middle", "np.median(edge) > middle"),
    Mutant("data/augment/draws.py", "uniforms(seed, owner, epoch, indices, count)", "uniforms(seed, owner, 0, indices, count)"),
    Mutant("data/augment/draws.py", "uniforms(seed, owner, epoch, indices, count)", "uniforms(seed, owner, epoch, np.arange(len(images)), count)"),
    Mutant("data/augment/draws.py", "uniforms(seed, owner, epoch, indices, count)", "uniforms(seed, \"\", epoch, indices, count)"),
    Mutant("data/augment/mix.py", "one_hot[partners] * (1 - own)", "one_hot * (1 - own)"),
    Mutant("data/augment/mixup.py", "images[partners] * (1 - own), soft", "images[partners] * own, soft"),
    # The step.
    Mutant("training/trainer.py", "            self.optimizer.zero_grad()\n            self.loss.backward()", "            self.loss.backward()"),
    Mutant("training/trainer.py", "self.schedule(self.step)", "self.schedule(self.step + 1)"),
    Mutant("training/trainer.py", "self.schedule(self.step)", "self.schedule(self.batch)"),
    Mutant("training/trainer.py", "label_smoothing=self.label_smoothing", "label_smoothing=0.0"),
    Mutant("training/trainer.py", " or self.batch == len(self.train_loader)", ""),
    Mutant("training/trainer.py", "        if self.average is not None:\n            self.average.update()\n", ""),
    Mutant("training/trainer.py", "            clip_gradient_norm(self.optimizer.parameters.values(), self.clip_norm)", "            pass"),
    Mutant("training/trainer.py", "            clip_gradient_value(self.optimizer.parameters.values(), self.clip_value)", "            pass"),
    Mutant("training/trainer.py", "        self.model.train()\n", ""),
    Mutant("training/trainer.py", "self.train_loader.batches(self.epoch, self.batch)", "self.train_loader.batches(self.epoch)"),
    Mutant("training/trainer.py", "self.train_loader.batches(self.epoch, self.batch)", "self.train_loader.batches(0, self.batch)"),
    Mutant("training/trainer.py", "self.schedule.observe(losses[-1])", "self.schedule.observe(losses[0])"),
    Mutant("training/trainer.py", "self.epoch + 1, 0, Metrics()", "self.epoch + 1, 0, self.metrics"),
    Mutant("training/gradient_mean.py", "parameter.dtype.type(self.images)", "parameter.dtype.type(1)"),
    Mutant("training/gradient_mean.py", "parameter.grad * parameter.dtype.type(images)", "parameter.grad"),
    Mutant("training/gradient_mean.py", "self.images, self._sums = 0, {}", "self.images = 0"),
    Mutant("optim/clip.py", "first.xp.minimum(most / (norm + SMALLEST_NORM), 1.0)", "most / (norm + SMALLEST_NORM)"),
    Mutant("optim/clip.py", "clip(gradient, -most, most, out=gradient)", "clip(gradient, 0, most, out=gradient)"),
    Mutant("optim/schedule.py", "min(1.0, step / total_steps)", "min(1.0, (step + 1) / total_steps)"),
    Mutant("optim/schedule.py", "step // every", "(step + 1) // every"),
    Mutant("optim/schedule.py", "bisect_right(steps, step)", "bisect_right(steps, step - 1)"),
    # What is measured.
    Mutant("training/evaluate.py", "    model.eval()\n", ""),
    Mutant("training/evaluate.py", "            layer.training = training", "            layer.training = True"),
    Mutant("training/evaluate.py", "                metrics.update(F.cross_entropy(logits, labels), logits, labels)\n", "                metrics.update(F.cross_entropy(logits, labels), logits, labels)\n                metrics.update(F.cross_entropy(logits, labels), logits, labels) if metrics.total == len(labels) else None\n"),
    Mutant("training/evaluate.py", "loader.batches(0)", "loader.batches(0, 1)"),
    Mutant("training/metrics.py", "loss.data * float(len(labels))", "loss.data"),
    Mutant("training/metrics.py", "(answers == to_device(labels, device_of(answers)))", "(answers != to_device(labels, device_of(answers)))"),
    Mutant("training/metrics.py", "self.total += len(labels)", "self.total += 2 * len(labels)"),
    Mutant("training/trainer.py", "                test = evaluate(self.model, self.test_loader)", "                test = evaluate(self.model, self.train_loader)"),
    Mutant("training/trainer.py", "nullcontext() if self.average is None else self.average.applied()", "nullcontext()"),
    Mutant("training/run_folder.py", "accuracies[-1] > max(", "accuracies[-1] >= max("),
    Mutant("training/early_stopping.py", "self.bad_epochs >= self.patience", "self.bad_epochs > self.patience"),
    # What a resumed run finds again.
    Mutant("training/trainer_state.py", "    trainer.optimizer.load_state_dict(states[\"optimizer\"])\n", ""),
    Mutant("training/trainer_state.py", "        trainer.average.load_state_dict(states[\"average\"])", "        pass"),
    Mutant("training/trainer_state.py", "        trainer.schedule.load_state_dict(values[\"schedule\"])", "        pass"),
    Mutant("training/trainer_state.py", "    trainer.metrics.load_state_dict(states[\"metrics\"], trainer.device)\n", ""),
    Mutant("training/trainer_state.py", "        dropout.calls = values[\"dropout_calls\"][path]", "        pass"),
    Mutant("training/trainer_state.py", "        _restore_callback(callback, state)", "        pass"),
    Mutant("training/trainer_state.py", "values[\"lr\"], values[\"weight_decay\"]\n", "values[\"lr\"], trainer.optimizer.weight_decay\n"),
    Mutant("training/trainer_state.py", "values[\"epoch\"], values[\"batch\"], values[\"step\"]", "values[\"epoch\"], 0, values[\"step\"]"),
    Mutant("training/trainer_state.py", "values[\"epoch\"], values[\"batch\"], values[\"step\"]", "values[\"epoch\"], values[\"batch\"], 0"),
    Mutant("optim/optimizer.py", "part[...] = to_device(array.astype(buffer.dtype), buffer.device)", "part[...] = 0"),
    Mutant("optim/optimizer.py", "buffer.steps[position] = int(memory.pop(\"steps\", 1 if memory else 0))", "buffer.steps[position] = min(1, int(memory.pop(\"steps\", 1 if memory else 0)))"),
    Mutant("optim/weight_average.py", "        self.updates = updates\n", ""),
    Mutant("optim/weight_average.py", "                member.assign(own[path])", "                pass"),
    Mutant("optim/weight_average.py", "                    average[...] = member.data", "                    pass"),
    Mutant("layers/normalization.py", "self.running_mean = Buffer(", "self.running_mean = Parameter("),
    Mutant("training/checkpoint.py", "reversed(self.files())", "self.files()"),
    Mutant("training/checkpoint.py", "if checksum != _checksum(arrays, text):", "if False:"),
]  # fmt: skip
