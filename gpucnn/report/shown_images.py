"""The images of a report: which ones, in which files, what is told of each, and where the model looked at its mistakes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gpucnn import explain
from gpucnn.data.image_folder import names_of
from gpucnn.errors import GpucnnError
from gpucnn.report.chosen_images import choose_images
from gpucnn.report.run_in_hand import RunInHand
from gpucnn.report.thumbnails import COLUMNS, PER_SHEET, image_uri, model_images, pixels, sheets, with_heat
from gpucnn.text import printed

BATCH = 256
MOST_LOOKS = 60
"""Mistakes that have Grad-CAM beside them: each is a pass forward and back."""
MOST_BYTES, MOST_LOOK_BYTES = 2_200_000, 500_000
"""That all images, and all of Grad-CAM, take in the file."""
LOOKS = (
    "Beside each mistake is where the model looked for the answer that it gave, by Grad-CAM: the brighter, the more."
)


class Card(NamedTuple):
    """What is shown of an image."""

    uri: str
    look: str
    """The same with Grad-CAM over it, or empty."""
    label: str
    answer: str
    is_right: bool
    probability: float
    loss: float
    name: str


class ShownImages:
    """The images that are shown of a run that was measured."""

    def __init__(self, run: RunInHand) -> None:
        self.run, self.samples = run, run.found.samples
        self.chosen = choose_images(self.samples)
        self._names = names_of(run.measured.images)
        self._thumbnails: dict[int, np.ndarray] = {}
        self.looks_text = LOOKS
        self._looks: dict[int, np.ndarray] = {}
        shown = self.chosen.shown
        for start in range(0, len(shown), BATCH):
            self._take(shown[start : start + BATCH])
        self._sheets = sheets(list(self._thumbnails.values()), MOST_BYTES)
        self._look_sheets = sheets(list(self._looks.values()), MOST_LOOK_BYTES)

    def _take(self, places: np.ndarray) -> None:
        """Read some images, and look at where the model looked in those of them that it got wrong."""
        images = model_images(self.run.measured.images, self.samples.index[places])
        for place, image, thumbnail in zip(
            map(int, places), images, pixels(images, self.run.trained.preprocess), strict=True
        ):
            self._thumbnails[place] = thumbnail
            is_wrong = self.samples.label[place] != self.samples.answer[place]
            if is_wrong and len(self._looks) < MOST_LOOKS and self.looks_text == LOOKS:
                try:
                    heat = explain.grad_cam(self.run.trained.model, image, int(self.samples.answer[place]))
                    self._looks[place] = with_heat(thumbnail, heat)
                except GpucnnError as error:
                    self.looks_text = f"Where the model looked is not shown: {error}."

    def name(self, place: int) -> str:
        """The file of an image, or its number."""
        index = int(self.samples.index[place])
        return f"image {index}" if self._names is None else self._names[index]

    @property
    def left_out_text(self) -> str:
        """How many images are not in the file, for people to read; empty if all mistakes are."""
        is_wrong = self.samples.answer != self.samples.label
        there, wrong = int(is_wrong[self.chosen.shown[: self._sheets.number]].sum()), int(is_wrong.sum())
        return "" if there == wrong else f"Of {wrong:,} mistakes {there:,} are in this file, some of each kind."

    @property
    def worst_text(self) -> str:
        """Which images the worst ones are, for people to read."""
        is_wrong = self.samples.answer != self.samples.label
        wrong, shown = int(is_wrong.sum()), int(is_wrong[self.chosen.worst].sum())
        if shown < wrong:
            rest = "some of them" if self.left_out_text else "them"
            return (
                f"The {shown} mistakes of the highest loss, the highest first. There are {wrong - shown:,} more: choose a number "
                f"above to see {rest}."
            )
        every = f"{'The one mistake' if wrong == 1 else f'All {wrong} mistakes'}, that of the highest loss first"
        hard = len(self.chosen.worst) - shown
        right = f"right answers, {hard} of them, that had the highest loss"
        if not wrong:
            return f"There is no mistake. These are {right}."
        return f"{every}{f', and then {right}' if hard else ''}."

    @property
    def width(self) -> int:
        """Pixels of an image."""
        return self._sheets.width

    def cards(self, places: np.ndarray) -> Iterator[Card]:
        """What is shown of single images."""
        names = self.run.trained.class_names
        for place in map(int, places):
            one, look = self.samples[place], self._looks.get(place)
            yield Card(
                image_uri(self._thumbnails[place]), "" if look is None else image_uri(look), names[one.label], names[one.answer],
                one.label == one.answer, one.probability, one.loss, self.name(place),
            )  # fmt: skip

    def for_script(self) -> dict[str, Any]:
        """What the page's script shows when a cell of the confusion matrix is chosen."""
        rows = []
        places = [int(place) for place in self.chosen.shown[: self._sheets.number]]
        for place in places:
            one = self.samples[place]
            probability, loss = (
                round(value, 4) if np.isfinite(value) else None for value in (one.probability, one.loss)
            )
            rows.append([one.label, one.answer, probability, loss, printed(self.name(place))])
        looked = list(self._looks)[: self._look_sheets.number]
        return {
            "names": [printed(name) for name in self.run.trained.class_names],
            "images": rows,
            "sheets": self._sheets._asdict(),
            "looks": {
                **self._look_sheets._asdict(),
                "places": [places.index(place) if place in places else -1 for place in looked],
            },
            "per_sheet": PER_SHEET,
            "columns": COLUMNS,
        }
