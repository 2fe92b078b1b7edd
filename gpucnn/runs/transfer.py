"""A run whose model starts from weights of another: what it takes of them, what of it learns, and how fast."""

from collections.abc import Iterable

from gpucnn.data.normalization import Normalization
from gpucnn.errors import ConfigError
from gpucnn.layers import BatchNorm1d, BatchNorm2d, Layer, Parameter
from gpucnn.models import ImageModel, TakenWeights
from gpucnn.models.image_model import Stage
from gpucnn.optim import Group
from gpucnn.runs.config import HEAD_ONLY, RunConfig


def normalization_for(config: RunConfig, taken: TakenWeights) -> tuple[Normalization | None, str]:
    """What images are normalised with, where that goes by the weights, and what is said of it in any case."""
    if config.normalize is None:
        return taken.normalization, taken.normalized_by
    own = "the training set's mean and std" if config.normalize else "none"
    return None, f"{own}, as asked for; of the weights: {taken.normalized_by}"


def freeze(model: Layer, config: RunConfig) -> list[Stage]:
    """Freeze the stages that `config` says, and return them. ConfigError if the model has not as many."""
    if config.freeze is None or not isinstance(model, ImageModel):
        return []
    stages = model.stages()
    count = len(stages) if config.freeze == HEAD_ONLY else int(config.freeze)
    if count > len(stages):
        raise ConfigError(
            f"freeze is {count}, but {config.model} has {len(stages)} stages before its head: "
            f"{', '.join(stage.path for stage in stages)}; give at most {len(stages)}, or {HEAD_ONLY}"
        )
    for stage in stages[:count]:
        for layer in stage.layers:
            layer.requires_grad_(False)
    return stages[:count]


def learning(model: Layer, config: RunConfig) -> Iterable[Parameter | Group]:
    """What the optimizer gets: the parameters that are not frozen, those before the head with a rate of their own."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.norm_bias_factor != 1:
        return _with_faster_biases(model, config, parameters)
    if config.backbone_lr is None or not isinstance(model, ImageModel):
        return parameters
    assert isinstance(config.lr, float)
    head = model.head_path()
    backbone = [parameter for parameter in parameters if parameter.path.rpartition(".")[0] != head]
    if not backbone:
        raise ConfigError(f"backbone_lr is {config.backbone_lr:g}, but all before {head} is frozen; leave it out")
    return [
        Group(backbone, lr_factor=config.backbone_lr / config.lr),
        *(parameter for parameter in parameters if parameter.path.rpartition(".")[0] == head),
    ]


def _with_faster_biases(model: Layer, config: RunConfig, parameters: list[Parameter]) -> Iterable[Parameter | Group]:
    """The same, the biases of batch norms as a group, which shrink as fast as the others for all their faster learning."""
    assert config.weight_decay is not None
    norms = [layer for layer in model.modules() if isinstance(layer, BatchNorm1d | BatchNorm2d)]
    biases = {id(norm.bias) for norm in norms if norm.bias is not None}
    faster = [parameter for parameter in parameters if id(parameter) in biases]
    if not faster:
        raise ConfigError(
            f"norm_bias_factor is {config.norm_bias_factor:g}, but {config.model} has no batch norm whose bias learns; leave it out"
        )
    others = [parameter for parameter in parameters if id(parameter) not in biases]
    return [Group(faster, config.norm_bias_factor, config.weight_decay / config.norm_bias_factor), *others]


def start_lines(model: ImageModel, config: RunConfig, taken: TakenWeights, frozen: list[Stage]) -> tuple[str, ...]:
    """The lines that say what the model starts from, what is frozen, and what learns more slowly."""
    lines = [f"{taken.summary()}; normalisation: {normalization_for(config, taken)[1]}"]
    head = model.head_path()
    if frozen:
        still = sum(parameter.size for parameter in model.parameters() if not parameter.requires_grad)
        names = ", ".join(stage.path for stage in frozen)
        lines.append(
            f"frozen: {names}, {len(frozen)} of {len(model.stages())} stages before {head}; {model.parameter_count() - still:,} "
            f"parameters learn"
        )
    if config.backbone_lr is not None:
        lines.append(f"lr {config.backbone_lr:g} for what learns before {head}, {config.lr:g} for {head}")
    return tuple(lines)
