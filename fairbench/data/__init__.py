"""Data sets: uint8 pixels, labels, class names, fingerprints and stratified splits."""

from fairbench.data.batches import AUGMENTATIONS, TrainingBatches
from fairbench.data.dataset import ArrayDataset, Dataset, Split, to_unit
from fairbench.data.load import default_threat, load_dataset
from fairbench.data.registry import DATASETS, DatasetSpec
from fairbench.data.source import data_folder

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "ArrayDataset",
    "Dataset",
    "DatasetSpec",
    "Split",
    "TrainingBatches",
    "data_folder",
    "default_threat",
    "load_dataset",
    "to_unit",
]
