"""Small changes to ImageClassifier that tests must notice: it would still learn, and be another one than it says."""

from pathlib import Path

from tests.mutation import Mutant, Table

TESTS = "tests/image_classifier/test_classifier.py"
TESTS_OF = {name: [TESTS] for name in ("classifier.py", "inputs.py", "weighted_batches.py")}

MUTANTS = [
    Mutant("weighted_batches.py", "len(weights) / weights.sum()", "1.0"),
    Mutant("weighted_batches.py", "self.weights[indices]", "self.weights[: len(indices)]"),
    Mutant("classifier.py", "trainer.epoch, trainer.history = self.n_iter_, History(self.history_)", "pass"),
    Mutant("classifier.py", "        self.optimizer_.lr = _rate(config)\n", ""),
    Mutant("classifier.py", "raw, y, weights = raw[counts], y[counts], weights[counts]", "pass"),
    Mutant("classifier.py", "None if (weights == weights[0]).all() else weights", "weights"),
    Mutant("classifier.py", "np.unique(samples.labels if classes is None else classes)", "np.unique(samples.labels)"),
    Mutant("classifier.py", "            model.seed = config.seed\n", "            model.seed = config.seed + 1\n"),
    Mutant("classifier.py", 'device_of_model(self.model_).kind != "cpu"', "False"),
    Mutant("classifier.py", "max(sides) <= SMALL", "max(sides) < SMALL"),
    Mutant("classifier.py", "if count <= most", "if count < most"),
    Mutant("inputs.py", "np.where(is_constant, 1.0, std)", "std"),
    Mutant("inputs.py", "np.float64 if self.form", "np.float32 if self.form"),
    Mutant("inputs.py", "variances + (means - mean) ** 2", "(means - mean) ** 2"),
    Mutant("inputs.py", "size >= BIG_STEP * native", "size > native"),
    Mutant("inputs.py", "self.shape[1] == self.shape[2]", "True"),
    Mutant("inputs.py", "left : left + width] = raw", ": width] = raw"),
]

QUICK = ("--backend", "emulated", "-k", "not grid and not page and not without_scikit")

TABLE = Table("scikit-learn's classifier", Path("image_classifier"), MUTANTS, TESTS_OF, options=QUICK, sample=5)
