"""Optimizers, which change parameters along their gradients, and what goes with them: schedules, clipping, averages."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.optim.adagrad import Adagrad as Adagrad
from gpucnn.optim.adam import Adam as Adam
from gpucnn.optim.adam import AdamW as AdamW
from gpucnn.optim.clip import clip_gradient_norm as clip_gradient_norm
from gpucnn.optim.clip import clip_gradient_value as clip_gradient_value
from gpucnn.optim.group import Group as Group
from gpucnn.optim.lion import Lion as Lion
from gpucnn.optim.lookahead import Lookahead as Lookahead
from gpucnn.optim.optimizer import Optimizer as Optimizer
from gpucnn.optim.plateau import ReduceOnPlateau as ReduceOnPlateau
from gpucnn.optim.rmsprop import RMSprop as RMSprop
from gpucnn.optim.schedule import Schedule as Schedule
from gpucnn.optim.schedule import constant as constant
from gpucnn.optim.schedule import cosine as cosine
from gpucnn.optim.schedule import cosine_restarts as cosine_restarts
from gpucnn.optim.schedule import exponential as exponential
from gpucnn.optim.schedule import multi_step as multi_step
from gpucnn.optim.schedule import one_cycle as one_cycle
from gpucnn.optim.schedule import polynomial as polynomial
from gpucnn.optim.schedule import step_decay as step_decay
from gpucnn.optim.schedule import triangle as triangle
from gpucnn.optim.schedule import warm_up as warm_up
from gpucnn.optim.scheduler import Scheduler as Scheduler
from gpucnn.optim.sgd import SGD as SGD
from gpucnn.optim.weight_average import WeightAverage as WeightAverage

_ELSEWHERE = {
    "lr_scheduler": "Scheduler(optimizer, schedule), e.g. Scheduler(optimizer, optim.step_decay(0.1, 30)), and scheduler.step()",
    "LambdaLR": "Scheduler(optimizer, lambda step: rate)",
    "StepLR": "Scheduler(optimizer, optim.step_decay(lr, every, factor))",
    "MultiStepLR": "Scheduler(optimizer, optim.multi_step(lr, milestones, factor))",
    "ExponentialLR": "Scheduler(optimizer, optim.exponential(lr, factor))",
    "CosineAnnealingLR": "Scheduler(optimizer, optim.cosine(lr, total_steps))",
    "CosineAnnealingWarmRestarts": "Scheduler(optimizer, optim.cosine_restarts(lr, period))",
    "OneCycleLR": "Scheduler(optimizer, optim.one_cycle(lr, total_steps))",
    "PolynomialLR": "Scheduler(optimizer, optim.polynomial(lr, total_steps))",
    "LinearLR": "Scheduler(optimizer, optim.warm_up(schedule, steps))",
    "ReduceLROnPlateau": "Scheduler(optimizer, optim.ReduceOnPlateau(lr)), and scheduler.step(loss)",
    "swa_utils": "WeightAverage(model)",
    "EMA": "WeightAverage(model)",
    "clip_grad_norm_": "clip_gradient_norm(parameters, most)",
    "clip_grad_value_": "clip_gradient_value(parameters, most)",
    **dict.fromkeys(("NAdam", "RAdam", "Adamax", "Adadelta", "LAMB"), "not here; Adam and AdamW are nearest to it"),
    "LBFGS": "not here: steps go by one gradient each",
}
"""Names in PyTorch, and what does the same here."""


def __getattr__(name: str) -> object:
    raise _unknown_name("optim", name, globals(), _ELSEWHERE)


__all__ = _public_names(globals(), "Schedule")


def __dir__() -> list[str]:
    return __all__
