"""The data sets that fairbench knows by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairbench.data import array_files, class_names, folder_layouts
from fairbench.data.dataset import ArrayDataset
from fairbench.data.image_folder import ImageFolder, Preprocess
from fairbench.data.source import Source

#: The two parts that a data set is published in; validation is carved from "train".
Part = Literal["train", "test"]
#: Per-channel mean and standard deviation, for pixels in [0, 1].
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
ReadArrays = Callable[[Source, Part], ArrayDataset]
ReadImages = Callable[[Source, Part, Preprocess, int | None], ImageFolder]


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known of a data set before it is read.

    Attributes:
        description: one line for `fairbench list datasets`.
        shape: (C, H, W) of an image as it is given to a model.
        num_classes: K.
        class_names: K names in order of label; empty where only the folders on disk say them.
        eps: the default Linf radius as text ("8/255").
        default_model: a name in `fairbench.models.MODELS`, or "torchvision:NAME".
        validation: how many training images of each class are held out (see `fairbench.data.splits`).
        augment: the usual augmentation, a name in `fairbench.data.batches.AUGMENTATIONS`.
        get: how a person gets the files; "{root}" stands for the data folder.
        arrays: reads one part into memory; None where it is image files.
        images: opens one part's image files, which are read in a stream; None where it is arrays.
        preprocess: what is done to each image file.
        normalizations: constants that checkpoints of the wild use with this data set, the usual one first.
    """

    description: str
    shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...] = ()
    eps: str
    default_model: str
    validation: int
    augment: str = "none"
    get: str = "nothing to do, it is inside fairbench"
    arrays: ReadArrays | None = None
    images: ReadImages | None = None
    preprocess: Preprocess = field(default_factory=Preprocess)
    normalizations: Mapping[str, Normalization] = field(default_factory=dict)


_IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _by_torchvision(name: str) -> str:
    return f"python -c \"import torchvision; torchvision.datasets.{name}('{{root}}', download=True)\""


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        description="handwritten digits 8x8, inside fairbench; train 797, validation 100, test 900",
        shape=(1, 8, 8), num_classes=10, class_names=class_names.DIGITS,
        eps="0.1", default_model="small-cnn", validation=10, arrays=array_files.read_digits,
    ),
    "mnist": DatasetSpec(
        description="handwritten digits 28x28; train 59000, validation 1000, test 10000",
        shape=(1, 28, 28), num_classes=10, class_names=class_names.DIGITS,
        eps="0.3", default_model="small-cnn", validation=100,
        get=_by_torchvision("MNIST"), arrays=array_files.read_mnist,
        normalizations={"mnist": ((0.1307,), (0.3081,)), "mnist-half": ((0.5,), (0.5,))},
    ),
    "fashion-mnist": DatasetSpec(
        description="clothes 28x28; train 59000, validation 1000, test 10000",
        shape=(1, 28, 28), num_classes=10, class_names=class_names.FASHION_MNIST,
        eps="0.1", default_model="small-cnn", validation=100,
        get=_by_torchvision("FashionMNIST"), arrays=array_files.read_fashion_mnist,
        normalizations={"fashion-mnist": ((0.2860,), (0.3530,)), "mnist-half": ((0.5,), (0.5,))},
    ),
    "cifar10": DatasetSpec(
        description="objects 32x32; train 49000, validation 1000, test 10000",
        shape=(3, 32, 32), num_classes=10, class_names=class_names.CIFAR10,
        eps="8/255", default_model="resnet18", validation=100, augment="crop-flip",
        get=_by_torchvision("CIFAR10"), arrays=array_files.read_cifar10,
        normalizations={
            "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
            "cifar10-batchwise": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
            "half": _HALF,
            "imagenet": _IMAGENET,
        },
    ),
    "cifar100": DatasetSpec(
        description="objects 32x32, fine labels; train 48000, validation 2000, test 10000",
        shape=(3, 32, 32), num_classes=100, class_names=class_names.CIFAR100,
        eps="8/255", default_model="resnet18", validation=20, augment="crop-flip",
        get=_by_torchvision("CIFAR100"), arrays=array_files.read_cifar100,
        normalizations={
            "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
            "cifar100-batchwise": ((0.5071, 0.4865, 0.4409), (0.2009, 0.1984, 0.2023)),
            "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
            "half": _HALF,
            "imagenet": _IMAGENET,
        },
    ),
    "svhn": DatasetSpec(
        description="house numbers 32x32, classes of unequal size; train 72257, validation 1000, test 26032",
        shape=(3, 32, 32), num_classes=10, class_names=class_names.DIGITS,
        eps="8/255", default_model="resnet18", validation=100, augment="crop",
        get="download train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers into {root}",
        arrays=array_files.read_svhn,
        normalizations={"svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)), "half": _HALF},
    ),
    "stl10": DatasetSpec(
        description="objects 96x96; train 4500, validation 500, test 8000",
        shape=(3, 96, 96), num_classes=10, class_names=class_names.STL10,
        eps="8/255", default_model="resnet18", validation=50, augment="crop-flip",
        get=_by_torchvision("STL10"), arrays=array_files.read_stl10,
        normalizations={
            "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)), "half": _HALF, "imagenet": _IMAGENET,
        },
    ),
    "imagenette": DatasetSpec(
        description="easy ImageNet classes at 160x160; train 8969, validation 500, test 3925",
        shape=(3, 160, 160), num_classes=10, class_names=tuple(class_names.IMAGENETTE.values()),
        eps="8/255", default_model="torchvision:resnet18", validation=50, augment="crop-flip",
        get="python -c \"import torchvision; torchvision.datasets.Imagenette('{root}', size='160px', download=True)\"",
        images=folder_layouts.read_imagenette, preprocess=Preprocess(160, 160),
        normalizations={"imagenet": _IMAGENET, "half": _HALF},
    ),
    "tiny-imagenet": DatasetSpec(
        description="ImageNet classes at 64x64; train 98000, validation 2000, test 10000 (the labelled val images)",
        shape=(3, 64, 64), num_classes=200,
        eps="8/255", default_model="preactresnet18", validation=10, augment="crop-flip",
        get="unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip in {root}",
        images=folder_layouts.read_tiny_imagenet,
        normalizations={
            "tiny-imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)), "imagenet": _IMAGENET, "half": _HALF,
        },
    ),
    "imagenet": DatasetSpec(
        description="ImageNet at 224x224; train 1271167, validation 10000, test 50000 (the official val images)",
        shape=(3, 224, 224), num_classes=1000,
        eps="4/255", default_model="torchvision:resnet50", validation=10, augment="crop-flip",
        get="register at https://image-net.org, and unpack one folder per wnid in {root}/imagenet/train and .../val",
        images=folder_layouts.read_imagenet, preprocess=Preprocess(256, 224),
        normalizations={"imagenet": _IMAGENET, "half": _HALF},
    ),
}  # fmt: skip
