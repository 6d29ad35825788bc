"""Where image folders keep their classes: one sub-folder per class, and tiny-imagenet's own way.

Order is by class, then by relative path, in plain character order, so it is the same on every machine. A class folder
may be a link, and so may an image; links to folders inside a class are not followed, so nothing is seen twice. Names
that begin with a dot are left out, and so are files that are no images by their ending.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from fairbench.data import class_names
from fairbench.data.image_folder import ImageFolder, Preprocess
from fairbench.data.imagenet_names import imagenet_names
from fairbench.data.source import Source
from fairbench.errors import BadInput

Part = Literal["train", "test"]
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def class_folders(root: Path) -> list[str]:
    """Return the names of the class folders in `root`, sorted.

    Raises:
        BadInput: `root` cannot be read, or has none.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise BadInput(f"the image folder {str(root)[:250]} cannot be read ({error.strerror}).") from error
    if not names:
        raise BadInput(
            f"the image folder {str(root)[:250]} has no sub-folders; it must have one for each class, "
            "with the images inside."
        )
    return names


def images_in(root: Path, folder: str) -> list[str]:
    """Return the images below root/folder as sorted paths relative to `root`.

    Raises:
        BadInput: there are none.
    """
    found = []
    for place, inner, files in os.walk(root / folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [
            (Path(place) / name).relative_to(root).as_posix()
            for name in files
            if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    if not found:
        raise BadInput(
            f"the class folder {str(root / folder)[:250]} holds no image ({', '.join(ENDINGS[:3])}, ...); "
            "fill it or remove it."
        )
    return sorted(found)


def listed(root: Path, folders: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the images of all class folders and their labels: the places of the folders in `folders`."""
    files: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        images = images_in(root, folder)
        files += images
        labels += [label] * len(images)
    return files, np.array(labels, dtype=np.int64)


def read_class_folders(
    root: Path,
    *,
    name: str,
    part: Part,
    preprocess: Preprocess,
    workers: int | None,
) -> ImageFolder:
    """Return the images of a folder with one sub-folder per class; ImageNet's 1,000 wnids become its class names."""
    folders = class_folders(root)
    files, y = listed(root, folders)
    names = imagenet_names(folders) or folders
    return ImageFolder(root, files, y, names, name=name, split=part, preprocess=preprocess, workers=workers)


def read_imagenette(source: Source, part: Part, preprocess: Preprocess, workers: int | None) -> ImageFolder:
    """Return imagenette from imagenette2-160, imagenette2-320 or imagenette2, the first that is there."""
    inside = "train" if part == "train" else "val"
    root = source.find(f"imagenette2-160/{inside}", f"imagenette2-320/{inside}", f"imagenette2/{inside}")
    folders = class_folders(root)
    if folders != list(class_names.IMAGENETTE):
        raise _other_classes(source.name, root, folders, len(class_names.IMAGENETTE))
    files, y = listed(root, folders)
    names = tuple(class_names.IMAGENETTE.values())
    return ImageFolder(root, files, y, names, name=source.name, split=part, preprocess=preprocess, workers=workers)


def read_imagenet(source: Source, part: Part, preprocess: Preprocess, workers: int | None) -> ImageFolder:
    """Return ImageNet from train/<wnid>/ and val/<wnid>/; the official validation images are the test split."""
    inside = "train" if part == "train" else "val"
    root = source.find(inside, f"imagenet/{inside}", f"ILSVRC2012/{inside}")
    folders = class_folders(root)
    if len(folders) != 1000:
        raise _other_classes(source.name, root, folders, 1000)
    files, y = listed(root, folders)
    names: Sequence[str] | None = imagenet_names(folders)
    if names is None:  # a thousand others
        words = _words(root.parent, "LOC_synset_mapping.txt", "words.txt", "synset_words.txt")
        names = [f"{folder} {words[folder]}" if folder in words else folder for folder in folders]
    return ImageFolder(root, files, y, names, name=source.name, split=part, preprocess=preprocess, workers=workers)


def read_tiny_imagenet(source: Source, part: Part, preprocess: Preprocess, workers: int | None) -> ImageFolder:
    """Return tiny-imagenet from tiny-imagenet-200; its labelled val images are the test split.

    Labels follow the sorted wnids of train/. Validation images lie in one folder, with their classes in
    val_annotations.txt; a val/ that somebody has sorted into class folders is read, too.
    """
    root = source.find("tiny-imagenet-200")
    wnids = _wnids(root)
    words = _words(root, "words.txt")
    names = [f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids]
    if part == "train":
        base = root / "train"
        files, y = listed(base, wnids)
    else:
        base = root / "val"
        if (base / "val_annotations.txt").is_file() and (base / "images").is_dir():
            files, y = _annotated(base, wnids)
        else:
            files, y = listed(base, wnids)
    return ImageFolder(base, files, y, names, name=source.name, split=part, preprocess=preprocess, workers=workers)


def _wnids(root: Path) -> list[str]:
    listing = root / "wnids.txt"
    wnids = sorted(set(_lines(listing))) if listing.is_file() else class_folders(root / "train")
    if len(wnids) != 200:
        raise _other_classes("tiny-imagenet", root, wnids, 200)
    return wnids


def _annotated(base: Path, wnids: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    label = {wnid: place for place, wnid in enumerate(wnids)}
    pairs = []
    for line in _lines(base / "val_annotations.txt"):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in label or "/" in fields[0]:
            raise BadInput(
                f"{base / 'val_annotations.txt'} has the line {line[:80]!r}, but each must hold a file name and one of "
                f"the {len(wnids)} wnids, separated by a tab."
            )
        pairs.append((f"images/{fields[0]}", label[fields[1]]))
    if not pairs:
        raise BadInput(f"{base / 'val_annotations.txt'} is empty; it must name the class of every validation image.")
    pairs.sort(key=lambda pair: (pair[1], pair[0]))
    return [file for file, _ in pairs], np.array([place for _, place in pairs], dtype=np.int64)


def _words(root: Path, *listings: str) -> dict[str, str]:
    """Return wnid -> first word, from the first listing that is there ("n01440764 tench, Tinca tinca")."""
    for listing in listings:
        if (root / listing).is_file():
            split = (line.split(maxsplit=1) for line in _lines(root / listing))
            return {fields[0]: fields[1].split(",")[0] for fields in split if len(fields) == 2}
    return {}


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise BadInput(f"{str(path)[:250]} cannot be read ({error.strerror}).") from error


def _other_classes(name: str, root: Path, folders: Sequence[str], expected: int) -> BadInput:
    return BadInput(
        f"{name} has {expected} classes named by wnids, but {str(root)[:200]} holds {len(folders)}: "
        f"{', '.join(folders[:3])}{', ...' if len(folders) > 3 else ''}; for images of your own use folder:PATH."
    )
