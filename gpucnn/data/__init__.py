"""Images and labels: readers, data sets by name, preprocessing, augmentation, and the loader of batches."""

from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.data.array_dataset import ArrayDataset as ArrayDataset
from gpucnn.data.augment import ColorJitter as ColorJitter
from gpucnn.data.augment import Compose as Compose
from gpucnn.data.augment import CutMix as CutMix
from gpucnn.data.augment import Cutout as Cutout
from gpucnn.data.augment import Mixup as Mixup
from gpucnn.data.augment import RandomAffine as RandomAffine
from gpucnn.data.augment import RandomFlip as RandomFlip
from gpucnn.data.augment import RandomShift as RandomShift
from gpucnn.data.catalog import Splits as Splits
from gpucnn.data.catalog import load as load
from gpucnn.data.catalog import names as names
from gpucnn.data.catalog import native_size as native_size
from gpucnn.data.cifar import read_cifar10 as read_cifar10
from gpucnn.data.dataset import Batch as Batch
from gpucnn.data.dataset import Dataset as Dataset
from gpucnn.data.idx import read_idx as read_idx
from gpucnn.data.image_file import read_image as read_image
from gpucnn.data.image_folder import ImageFolder as ImageFolder
from gpucnn.data.loader import DataLoader as DataLoader
from gpucnn.data.normalization import channel_statistics as channel_statistics
from gpucnn.data.preprocess import Preprocess as Preprocess
from gpucnn.data.sampling import class_weights as class_weights
from gpucnn.data.split import split as split
from gpucnn.data.subset import Subset as Subset

_ELSEWHERE = {
    "TensorDataset": "ArrayDataset(images, labels)",
    "random_split": "split(dataset, share, seed)",
    "WeightedRandomSampler": "DataLoader(dataset, weights=weights)",
    "transforms": "Preprocess for what is done to all images, and augment= of DataLoader, e.g. RandomFlip()",
    "RandomHorizontalFlip": "RandomFlip()",
    "RandomRotation": "RandomAffine(degrees)",
    "RandomErasing": "Cutout(size)",
    "Normalize": "Preprocess(mean=..., std=...)",
    "datasets": "load(name)",
}
"""Names in PyTorch and torchvision, and what does the same here."""


def __getattr__(name: str) -> object:
    raise _unknown_name("data", name, globals(), _ELSEWHERE)
