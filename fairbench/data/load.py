"""Open a data set by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from fairbench.data.dataset import Dataset, Split
from fairbench.data.folder_layouts import read_class_folders
from fairbench.data.image_folder import Preprocess
from fairbench.data.npz import read_npz
from fairbench.data.registry import DATASETS, DatasetSpec, Part
from fairbench.data.source import Source, data_folder
from fairbench.data.splits import own_per_class, validation_rows
from fairbench.errors import BadInput, unknown

#: Sub-folders that make folder:PATH a data set with a training part.
_TEST_FOLDERS = ("test", "val", "validation")


def load_dataset(
    name: str,
    split: Split = "test",
    *,
    data_dir: str | Path | None = None,
    validation_seed: int = 0,
    resize: int | None = None,
    crop: int | None = None,
    interpolation: str | None = None,
    workers: int | None = None,
) -> Dataset:
    """Return one split of a data set.

    Args:
        name: a name in `DATASETS`, "npz:FILE", "npz:FOLDER" or "folder:PATH"; a relative path is looked for here and
            then in the data folder.
        split: "test" is the published test part; "train" and "validation" share the training part.
        data_dir: where files lie; None: the environment variable FAIRBENCH_DATA, else ./data.
        validation_seed: draws the validation images.
        resize: length in pixels of the shorter side of image files; None: the data set's own, else as they are.
        crop: side in pixels of the square cut from the centre; None: the data set's own, else nothing is cut.
        interpolation: nearest, bilinear, bicubic or lanczos; None: the data set's own, bilinear.
        workers: threads that read image files ahead; None: one per core, at most 8.

    Raises:
        BadInput: an unknown name or split, missing or broken files, or options that the data set cannot take.
    """
    if split not in get_args(Split):
        raise unknown("split", split, get_args(Split))
    part: Part = "test" if split == "test" else "train"
    given = {
        key: value
        for key, value in (("resize", resize), ("crop", crop), ("interpolation", interpolation))
        if value is not None
    }
    root = data_folder(data_dir)
    kind, _, place = name.partition(":")
    if kind in ("npz", "folder") and ":" in name:
        pool = _own(name, kind, place, root, part, given, workers)
        per_class = own_per_class(pool.y, pool.num_classes)
    elif name in DATASETS:
        spec = DATASETS[name]
        pool = _known(name, spec, root, part, given, workers)
        per_class = spec.validation
    else:
        raise unknown("data set", name, [*DATASETS, "npz:FILE", "npz:FOLDER", "folder:PATH"])
    if split == "test":
        return pool
    held = validation_rows(pool.y, pool.num_classes, per_class, validation_seed)
    return pool.take(np.flatnonzero(held if split == "validation" else ~held), selection="all", split=split)


def holds_image_files(name: str) -> bool:
    """Return whether `name` is a data set of image files, which takes --resize, --crop, --interpolation, --workers."""
    return name.startswith("folder:") or (name in DATASETS and DATASETS[name].images is not None)


def default_threat(name: str, norm: str = "Linf") -> str | None:
    """Return the data set's default radius as text ("8/255"); None where `--eps` must be given."""
    return DATASETS[name].eps if norm == "Linf" and name in DATASETS else None


def _known(
    name: str, spec: DatasetSpec, root: Path, part: Part, given: dict[str, int | str], workers: int | None
) -> Dataset:
    source = Source(name, root, spec.get)
    if spec.images is not None:
        defaults = spec.preprocess
        return spec.images(source, part, _preprocess(given, defaults), workers)
    assert spec.arrays is not None
    _only_for_images(name, given, workers)
    return spec.arrays(source, part)


def _own(
    name: str, kind: str, place: str, root: Path, part: Part, given: dict[str, int | str], workers: int | None
) -> Dataset:
    if not place.strip():
        raise BadInput(f"the data set {name!r} names no path; write {kind}:PATH.")
    path = Path(place).expanduser()
    if not path.exists() and (root / path).exists():
        path = root / path
    if kind == "npz":
        _only_for_images(name, given, workers)
        return read_npz(path, part, name=name)
    if not path.is_dir():
        state = "is a file" if path.exists() else "does not exist"
        raise BadInput(f"{name[:200]} {state}; give a folder with one sub-folder of images for each class.")
    tests = [folder for folder in _TEST_FOLDERS if (path / folder).is_dir()]
    if (path / "train").is_dir() and tests:
        path = path / ("train" if part == "train" else tests[0])
    elif part == "train":
        raise BadInput(
            f"{name[:200]} has no training part; to train, put the class folders into train/ and test/ inside it."
        )
    return read_class_folders(path, name=name, part=part, preprocess=_preprocess(given, Preprocess()), workers=workers)


def _preprocess(given: dict[str, int | str], defaults: Preprocess) -> Preprocess:
    values = {"resize": defaults.resize, "crop": defaults.crop, "interpolation": defaults.interpolation, **given}
    resize, crop, interpolation = values["resize"], values["crop"], values["interpolation"]
    assert not isinstance(resize, str)
    assert not isinstance(crop, str)
    return Preprocess(resize, crop, str(interpolation))


def _only_for_images(name: str, given: dict[str, int | str], workers: int | None) -> None:
    unused = [*given, *(["workers"] if workers is not None else [])]
    if unused:
        raise BadInput(
            f"--{unused[0]} is for image files, but {name[:200]} holds arrays of a fixed size; leave it out."
        )
