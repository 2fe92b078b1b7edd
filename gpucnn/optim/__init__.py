"""Optimizers, which change parameters along their gradients, and learning-rate schedules."""

from gpucnn.optim.adam import Adam as Adam
from gpucnn.optim.optimizer import Optimizer as Optimizer
from gpucnn.optim.schedule import Schedule as Schedule
from gpucnn.optim.schedule import one_cycle as one_cycle
from gpucnn.optim.sgd import SGD as SGD
