"""Images and labels: readers, data sets by name, preprocessing, augmentation, and the loader of batches."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.data.array_dataset import ArrayDataset as ArrayDataset
from gpucnn.data.augment import AlternatingFlip as AlternatingFlip
from gpucnn.data.augment import ColorJitter as ColorJitter
from gpucnn.data.augment import Compose as Compose
from gpucnn.data.augment import CutMix as CutMix
from gpucnn.data.augment import Cutout as Cutout
from gpucnn.data.augment import Mixup as Mixup
from gpucnn.data.augment import RandAugment as RandAugment
from gpucnn.data.augment import RandomAffine as RandomAffine
from gpucnn.data.augment import RandomErasing as RandomErasing
from gpucnn.data.augment import RandomFlip as RandomFlip
from gpucnn.data.augment import RandomResizedCrop as RandomResizedCrop
from gpucnn.data.augment import RandomShift as RandomShift
from gpucnn.data.catalog import Splits as Splits
from gpucnn.data.catalog import load as load
from gpucnn.data.catalog import names as names
from gpucnn.data.catalog import native_size as native_size
from gpucnn.data.cifar import read_cifar10 as read_cifar10
from gpucnn.data.dataset import Batch as Batch
from gpucnn.data.dataset import Dataset as Dataset
from gpucnn.data.idx import read_idx as read_idx
from gpucnn.data.image_folder import ImageFolder as ImageFolder
from gpucnn.data.image_reader import read_image as read_image
from gpucnn.data.inspection import InspectedImage as InspectedImage
from gpucnn.data.inspection import Inspection as Inspection
from gpucnn.data.inspection import inspect as inspect
from gpucnn.data.item_dataset import ItemDataset as ItemDataset
from gpucnn.data.loader import DataLoader as DataLoader
from gpucnn.data.normalization import channel_statistics as channel_statistics
from gpucnn.data.packing import pack as pack
from gpucnn.data.preprocess import Preprocess as Preprocess
from gpucnn.data.sampling import class_weights as class_weights
from gpucnn.data.split import split as split
from gpucnn.data.subset import Subset as Subset
from gpucnn.data.window_shuffle import WindowShuffle as WindowShuffle

_ELSEWHERE = {
    "TensorDataset": "ArrayDataset(images, labels)",
    "ConcatDataset": "ArrayDataset of np.concatenate, or a class of your own with __len__ and __getitem__",
    "IterableDataset": "a class with __len__ and __getitem__: a loader draws by index",
    "random_split": "split(dataset, share, seed)",
    "default_collate": "DataLoader's own way; give collate= for another",
    "Sampler": "any list of indices, or a function of the epoch, given as sampler=",
    "RandomSampler": "shuffle=True, of DataLoader",
    "SequentialSampler": "shuffle=False, of DataLoader",
    "SubsetRandomSampler": "sampler=, a list of indices",
    "WeightedRandomSampler": "weights=, of DataLoader",
    "DistributedSampler": "sampler=, a function of the epoch that gives indices",
    "transforms": "Preprocess for what is done to all images, and augment= of DataLoader, e.g. RandomFlip()",
    "RandomHorizontalFlip": "RandomFlip()",
    "Normalize": "Preprocess(mean=..., std=...)",
    "ToTensor": "Preprocess(...): loaders give arrays, which Tensor takes",
    "Resize": "Preprocess(image_size=...), or ImageFolder(..., image_size)",
    "datasets": "load(name), or ImageFolder",
}
"""Names in torch.utils.data and torchvision, and what does the same here."""

__all__ = _public_names(globals(), "Batch")


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("data", name, __all__, _ELSEWHERE)
