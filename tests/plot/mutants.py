"""Small changes to figures that tests must notice: something would still be drawn, and be wrong."""

from pathlib import Path

from tests.mutation import Mutant, Table

TESTS_OF = {
    f"{name}.py": [f"tests/plot/test_{name}.py"]
    for name in (
        "figure", "curves", "confusion", "calibration", "images", "filters", "feature_maps", "heat", "hierarchy", "mosaic",
    )
} | {"numbers.py": ["tests/plot/test_filters.py"], "shown_image.py": ["tests/plot/test_images.py"], "inputs.py": ["tests/plot/test_images.py", "tests/plot/test_heat.py"]}  # fmt: skip
"""What is run for a change in a file."""

MUTANTS = [
    Mutant("figure.py", '"text.parse_math": False', '"text.parse_math": True'),
    Mutant("figure.py", '"ignore", "Glyph|', '"ignore", "None|'),
    Mutant("figure.py", "figure.alt = printed(alt)", "figure.alt = alt"),
    Mutant("figure.py", 'alt="{escaped(self.alt)}"', 'alt="{self.alt}"'),
    Mutant("figure.py", "            matplotlib.rcParams.update(plain)\n", ""),
    Mutant("figure.py", "(place + place // len(LINES))", "(place)"),
    Mutant("curves.py", 'course.values(f"train_{what}")', 'course.values("train_loss")'),
    Mutant("curves.py", "linestyle=DASHED, linewidth=1.1, markersize=3,\n", "linewidth=1.1, markersize=3,\n"),
    Mutant("curves.py", "if own and texts[own] == 1", "if own"),
    Mutant("curves.py", "WIDE_RANGE = 8", "WIDE_RANGE = 80_000"),
    Mutant("curves.py", "[best - 1 : best]", "[:1]", times=2),
    Mutant(
        "confusion.py", "support = counts.sum(axis=1, keepdims=True)", "support = counts.sum(axis=0, keepdims=True)"
    ),
    Mutant("confusion.py", "axes.text(column, row,", "axes.text(row, column,"),
    Mutant(
        "calibration.py",
        'found.confidence[there], found.accuracy[there], "o"',
        'left[there], found.accuracy[there], "o"',
    ),
    Mutant("curves.py", "if what == course.judged and", "if"),
    Mutant("curves.py", 'if course.part == "train" else {}', "if False else {}"),
    Mutant("numbers.py", "values[np.isfinite(values)]", "values"),
    Mutant("mosaic.py", "left, top = column * (width + gap) - 0.5", "left, top = column * width - 0.5"),
    Mutant("images.py", "samples.label[by_loss] != samples.answer[by_loss]", "samples.label[by_loss] >= 0"),
    Mutant("images.py", "by_loss = samples.by_loss()", "by_loss = samples.by_loss()[::-1]"),
    Mutant("images.py", "loader.batches(loader.epoch)", "loader.batches(0)"),
    Mutant("images.py", ", preprocess_of(loader.dataset))", ")"),
    Mutant("shown_image.py", "one.mean(axis=0)", "one[0]"),
    Mutant("inputs.py", "return subject.run.inputs(owner, given,", 'return subject.run.inputs("", given,'),
    Mutant("inputs.py", "self.class_names.index(label)", "0"),
    Mutant("filters.py", "0.5 + weights / (2 * most)", "weights / most"),
    Mutant("filters.py", "vmin=-most", "vmin=0"),
    Mutant("filters.py", "list(shown.swapaxes(0, 1))", "list(shown)"),
    Mutant("feature_maps.py", "(maps < 0).any()", "(maps < 0).all()"),
    Mutant("feature_maps.py", "np.argsort(-maps.max(", "np.argsort(maps.max("),
    Mutant("feature_maps.py", "if size != after", "if size == after"),
    Mutant("heat.py", "asked.label).sum(axis=0)", "asked.label).max(axis=0)"),
    Mutant("heat.py", "MOST_COVERED * np.abs(heat)", "MOST_COVERED * heat"),
    Mutant("heat.py", "answer if label is None else subject.label_of(owner, label, len(probabilities))", "answer"),
    Mutant("hierarchy.py", "if box.top == 0 else 0", "if box.top == 99 else 0"),
    Mutant("hierarchy.py", "key=lambda number: -patches", "key=lambda number: patches"),
    Mutant("hierarchy.py", "preprocess or preprocess_of(loader.dataset)", "preprocess"),
    Mutant("mosaic.py", "round(max(tile[:2]) / GAPS_A_TILE)", "1"),
    Mutant("mosaic.py", "place * (height + gap), number * (width + gap)\n", "place * (height + gap), number * width\n"),
]

TABLE = Table("figures", Path("plot"), MUTANTS, TESTS_OF, sample=12)
