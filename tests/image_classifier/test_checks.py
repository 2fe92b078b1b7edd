"""What scikit-learn asks of every classifier, in its own words."""

from typing import Any

import pytest

sklearn = pytest.importorskip("sklearn", reason="ImageClassifier needs the extra sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from gpucnn import ImageClassifier  # noqa: E402

FAST = ImageClassifier(epochs=5, lr=0.03)
"""Enough epochs for the accuracy that the checks ask for."""
NUMBER = {(1, 6): 54, (1, 9): 55}
"""How many checks there are, by version."""


@pytest.mark.filterwarnings("ignore")  # which a check may provoke, and looks at itself
@parametrize_with_checks([FAST])
def test_the_check(estimator: ImageClassifier, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else one of them is skipped
    check(estimator)


def test_none_of_the_checks_is_left_out() -> None:
    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    number = len(list(parametrize_with_checks([FAST]).args[1]))
    assert number == NUMBER[version] if version in NUMBER else number >= min(NUMBER.values())
