"""Scheduler: a schedule in a loop of one's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpucnn.autograd import Tensor
from gpucnn.checks import as_count, as_function, unknown_name
from gpucnn.errors import ArgumentError, StateError
from gpucnn.optim.optimizer import Optimizer
from gpucnn.optim.plateau import ReduceOnPlateau
from gpucnn.optim.schedule import Schedule
from gpucnn.text import value_text

ELSEWHERE = {"last_epoch": "steps", "get_lr": "get_last_lr()", "base_lrs": "the rate that the schedule was made with"}
"""What PyTorch's schedulers have, and what does the same here."""


class Scheduler:
    """Sets an optimizer's learning rate by a schedule: that of step 0 at once, and that of the next at every `step()`.

        scheduler = optim.Scheduler(optimizer, optim.step_decay(0.1, every=30))
        for epoch in range(90):
            ...
            scheduler.step()

    Call it once an epoch, or once a step of the optimizer: the schedule counts what you count. A `ReduceOnPlateau` is told the
    loss, `scheduler.step(loss)`. In a `Trainer` give `schedule=` instead.

    - `steps`: how many there have been.

    Raises ArgumentError for anything but an optimizer and a schedule.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule | ReduceOnPlateau) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"Scheduler: expected an optimizer, got {value_text(optimizer)}")
        use = "from the step to its learning rate, e.g. optim.cosine(0.1, 1000)"
        as_function(schedule, "Scheduler: schedule", use)
        self.optimizer, self.schedule, self.steps = optimizer, schedule, 0
        optimizer.lr = schedule(0)

    def step(self, loss: float | Tensor | None = None) -> None:
        """Go on to the next step of the schedule. ArgumentError for a loss that it does not look at, or lacks."""
        looks = isinstance(self.schedule, ReduceOnPlateau)
        if looks != (loss is not None):
            fix = "call scheduler.step(loss)" if looks else "call scheduler.step()"
            raise ArgumentError(f"Scheduler: {self.schedule} {'looks' if looks else 'does not look'} at a loss; {fix}")
        if isinstance(self.schedule, ReduceOnPlateau) and loss is not None:
            self.schedule.observe(loss.item() if isinstance(loss, Tensor) else loss)
        rate = self.schedule(self.steps + 1)
        self.steps, self.optimizer.lr = self.steps + 1, rate

    def get_last_lr(self) -> list[float]:
        """The learning rate of now, of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """How many steps there have been, and what a `ReduceOnPlateau` remembers, as JSON values."""
        state = self.schedule.state_dict() if isinstance(self.schedule, ReduceOnPlateau) else None
        return {"steps": self.steps, "schedule": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, and set the rate. StateError, and no change, if it does not fit."""
        looks = isinstance(self.schedule, ReduceOnPlateau)
        if not isinstance(state, Mapping) or state.keys() != {"steps", "schedule"} or looks != bool(state["schedule"]):
            raise StateError(f"Scheduler: expected a state of {self.schedule}, got {value_text(state)}")
        try:
            steps = as_count(state["steps"], "steps", least=0)
        except ArgumentError as error:
            raise StateError(f"Scheduler: {error}") from None
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.load_state_dict(state["schedule"])
        self.steps, self.optimizer.lr = steps, self.schedule(steps)

    if not TYPE_CHECKING:  # of what is not there, type checkers tell themselves

        def __getattr__(self, name: str) -> Any:
            raise unknown_name("Scheduler", name, dir(self), ELSEWHERE)

    def __repr__(self) -> str:
        return f"Scheduler({self.schedule}; step {self.steps:,}, lr={self.optimizer.lr:g})"
