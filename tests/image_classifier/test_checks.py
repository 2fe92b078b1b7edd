"""What scikit-learn asks of every classifier, in its own words."""

from typing import Any

import pytest

sklearn = pytest.importorskip("sklearn", reason="ImageClassifier needs the extra sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from gpucnn import ImageClassifier  # noqa: E402

FAST = ImageClassifier(epochs=5, lr=0.03, batch_size=64)
"""Enough epochs for the accuracy that the checks ask for. In one batch, weights of 2 and 3 are samples that are there so often."""
EVERY = parametrize_with_checks([FAST])
CHECKS = list(EVERY.args[1])
NUMBER = {(1, 6): 61, (1, 9): 62}
"""How many there are, by version. Without pandas two are skipped."""


@pytest.mark.sample(20)
@pytest.mark.filterwarnings("ignore")  # which a check may provoke, and looks at itself
@pytest.mark.parametrize(EVERY.args[0], CHECKS, **EVERY.kwargs)
def test_the_check(estimator: ImageClassifier, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else one of them is skipped
    check(estimator)


def test_none_of_the_checks_is_left_out() -> None:
    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    assert len(CHECKS) == NUMBER[version] if version in NUMBER else len(CHECKS) >= min(NUMBER.values())
