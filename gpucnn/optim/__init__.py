"""Optimizers, which change parameters along their gradients, and what goes with them: schedules, clipping, averages."""

from gpucnn.optim.adagrad import Adagrad as Adagrad
from gpucnn.optim.adam import Adam as Adam
from gpucnn.optim.adam import AdamW as AdamW
from gpucnn.optim.clip import clip_gradient_norm as clip_gradient_norm
from gpucnn.optim.clip import clip_gradient_value as clip_gradient_value
from gpucnn.optim.group import Group as Group
from gpucnn.optim.lion import Lion as Lion
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
from gpucnn.optim.schedule import warm_up as warm_up
from gpucnn.optim.sgd import SGD as SGD
from gpucnn.optim.weight_average import WeightAverage as WeightAverage
