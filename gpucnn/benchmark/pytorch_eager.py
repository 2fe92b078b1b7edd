"""How long PyTorch's eager step takes on a GPU, as predicted: what a prediction of ours is held against.

Nothing here ran on a GPU. The model: 45, 85 and 330 launches for a step of LeNet-5, VGG-mini and ResNet-20, counted in a CPU
profile (optimizers as foreach, bias and ReLU apart), each 6.5 us of the host's time; on the device the bytes of all operations, its
convolutions with one pass for the layout, and FLOPs at 200 TFLOP/s on an H200, as cuDNN has them in TF32, PyTorch's own choice for
convolutions. The larger of both times counts, to some 40 %.
"""

from gpucnn.benchmark.training_step import Workload

SECONDS: dict[str, dict[Workload, float]] = {
    "h200": {
        Workload("lenet5", 64): 0.29e-3,
        Workload("lenet5", 1024): 0.29e-3,
        Workload("vgg_mini", 64): 0.55e-3,
        Workload("vgg_mini", 256): 0.66e-3,
        Workload("resnet20", 64): 2.1e-3,
        Workload("resnet20", 256): 2.1e-3,
        Workload("resnet20", 1024): 5.4e-3,
        Workload("resnet18", 64): 6.4e-3,
        Workload("resnet50", 64): 22.4e-3,
        Workload("resnet50", 256): 90e-3,
    },
    "rtx4060": {
        Workload("lenet5", 64): 0.29e-3,
        Workload("lenet5", 1024): 1.01e-3,
        Workload("vgg_mini", 64): 2.3e-3,
        Workload("vgg_mini", 256): 10.5e-3,
        Workload("resnet20", 64): 4.2e-3,
        Workload("resnet20", 256): 22.6e-3,
        Workload("resnet20", 1024): 94e-3,
        Workload("resnet18", 64): 105e-3,
        Workload("resnet50", 64): 394e-3,
        Workload("resnet50", 256): 1.573,
    },
}
"""By the names of `gpus.GPUS`, where a prediction was made."""
