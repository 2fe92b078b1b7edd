"""What tests of written files share."""

import pytest

from gpucnn.export import answer_check


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images are tried, where it is not tested how many are."""
    monkeypatch.setattr(answer_check, "IMAGES", {True: 4, False: 2})
