"""Images in files: opened, resized and cropped when they are needed, never all in memory.

Resize (the shorter side) and centre crop give the same pixels as torchvision's `Resize` and `CenterCrop` on a PIL
image. EXIF orientation is ignored, as torchvision does; every image becomes RGB.

Shape key: b images of a block, C = 3 channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fairbench.data.dataset import Dataset, Split
from fairbench.errors import BadInput, unknown

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_RGB_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True)
class Preprocess:
    """What is done to an image file before it is an image: recorded in run.json.

    Attributes:
        resize: length of the shorter side in pixels; None keeps the size.
        crop: side of the square cut from the centre; None keeps everything.
        interpolation: a name in `INTERPOLATIONS`.

    Raises:
        BadInput: a length below 1, a crop larger than the resized side, or an unknown interpolation.
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name, value in (("--resize", self.resize), ("--crop", self.crop)):
            if value is not None and not 1 <= value <= 1 << 14:
                raise BadInput(f"{name} must be between 1 and {1 << 14} pixels, but is {value}.")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise BadInput(
                f"--crop {self.crop} is larger than --resize {self.resize}, the shorter side of every image; "
                "give a crop of at most that."
            )
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)

    @classmethod
    def of_record(cls, record: object, *, what: str) -> Preprocess:
        """Return what `asdict` wrote, from a file that a person may have edited; `what` names it in errors.

        Raises:
            BadInput: other keys or types, or values that cannot be.
        """
        known = record if isinstance(record, dict) else {}
        lengths = [known.get(key) for key in ("resize", "crop")]
        if (
            set(known) != {"resize", "crop", "interpolation"}
            or not all(value is None or type(value) is int for value in lengths)
            or not isinstance(known["interpolation"], str)
        ):
            raise BadInput(
                f"{what} holds the preprocessing {str(record)[:120]}, but it must hold resize and crop (pixels or "
                "null) and interpolation (a name); restore it."
            )
        return cls(**known)

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Return the image in `path` as (H, W, 3).

        Raises:
            BadInput: no image, a broken one, one with more than 8 bits per channel, or one smaller than the crop.
        """
        try:
            with Image.open(path) as file:
                if file.mode in _RGB_MODES:
                    image = _rgb(file)
                else:
                    image = None
        except Exception as error:  # a broken image can raise nearly anything
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise BadInput(f"the image {str(path)[:250]} cannot be read ({reason}); repair or remove it.") from error
        if image is None:
            raise BadInput(
                f"the image {str(path)[:250]} has more than 8 bits per channel; convert it to an 8-bit image first."
            )
        if self.resize is not None and min(image.size) != self.resize:
            short, long = min(image.size), max(image.size)
            lengths = (self.resize, int(self.resize * long / short))
            size = lengths if image.width <= image.height else lengths[::-1]
            image = image.resize(size, INTERPOLATIONS[self.interpolation])
        if self.crop is not None:
            if min(image.size) < self.crop:
                raise BadInput(
                    f"the image {str(path)[:250]} is {image.width}x{image.height} pixels, smaller than --crop "
                    f"{self.crop}; add --resize {self.crop} or more."
                )
            left, top = round((image.width - self.crop) / 2.0), round((image.height - self.crop) / 2.0)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.array(image, dtype=np.uint8)


def _rgb(file: Image.Image) -> Image.Image:
    if file.mode in ("P", "PA") and "transparency" in file.info:
        file = file.convert("RGBA")  # PIL warns where the palette's transparency is dropped in one step
    return file.convert("RGB")


class ImageFolder(Dataset):
    """Image files with labels.

    Args:
        root: the folder that `files` are relative to.
        files: N paths with "/" in them, in the order that gives each image its identity.
        y: (N,) labels.
        class_names: K names.
        name: the registry's name or "folder:PATH".
        split: "train", "validation" or "test".
        preprocess: resize and crop.
        workers: threads that read ahead; None: one per core, at most 8.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        y: npt.NDArray[np.int64],
        class_names: Sequence[str],
        *,
        name: str,
        split: Split,
        preprocess: Preprocess,
        workers: int | None = None,
        index: npt.NDArray[np.int64] | None = None,
        selection: str = "all",
    ) -> None:
        if workers is not None and workers < 1:
            raise BadInput(f"the number of reading threads (workers) must be at least 1, but is {workers}.")
        self.root, self.files, self.y = root, list(files), np.asarray(y, dtype=np.int64)
        self.class_names, self.name, self.split, self.selection = tuple(class_names), name, split, selection
        self.preprocess, self.workers = preprocess, workers or min(8, os.cpu_count() or 1)
        self.index = np.arange(len(self.files), dtype=np.int64) if index is None else np.asarray(index, dtype=np.int64)
        first = preprocess.read(root / self.files[0])
        self.shape = (3, first.shape[0], first.shape[1])

    def _read(self, position: int) -> npt.NDArray[np.uint8]:
        path = self.root / self.files[position]
        image = self.preprocess.read(path)
        if image.shape[:2] != self.shape[1:]:
            raise BadInput(
                f"the images of {self.name} differ in size: {self.files[0]} is {self.shape[2]}x{self.shape[1]}, "
                f"{self.files[position]} is {image.shape[1]}x{image.shape[0]}; bring them to one size "
                "(--resize and --crop do that)."
            )
        return image

    def pixels(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """Return (b, 3, H, W) uint8 pixels, read by several threads."""
        return next(iter(self.stream([np.asarray(positions, dtype=np.int64)])))

    def stream(self, blocks: Sequence[npt.NDArray[np.int64]]) -> Iterator[Tensor]:
        """Yield each block's pixels; threads read one block ahead, so memory holds two blocks."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fairbench-images")
        try:
            ahead: list[Future[npt.NDArray[np.uint8]]] = []
            for k in range(len(blocks) + 1):
                ready = ahead
                ahead = [pool.submit(self._read, int(i)) for i in blocks[k]] if k < len(blocks) else []
                if k > 0:
                    yield self._stack(ready)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _stack(self, images: Sequence[Future[npt.NDArray[np.uint8]]]) -> Tensor:
        stacked = torch.empty((len(images), *self.shape), dtype=torch.uint8)
        for row, image in enumerate(images):
            stacked[row] = torch.from_numpy(image.result()).permute(2, 0, 1)
        return stacked

    def take(self, positions: npt.NDArray[np.int64], *, selection: str, split: Split | None = None) -> ImageFolder:
        """Return the images at `positions` with their identities."""
        if len(positions) == 0:
            raise BadInput(f"no image of {self.name} is selected; choose at least one.")
        return ImageFolder(
            self.root, [self.files[i] for i in positions], self.y[positions], self.class_names, name=self.name,
            split=split or self.split, preprocess=self.preprocess, workers=self.workers, index=self.index[positions],
            selection=selection,
        )  # fmt: skip

    @cached_property
    def _fingerprint(self) -> str:
        order = np.argsort(self.index, kind="stable")
        digest = hashlib.sha256(f"{asdict(self.preprocess)} {self.shape}".encode())
        with ThreadPoolExecutor(self.workers) as pool:
            for content in pool.map(self._file_digest, (int(i) for i in order)):
                digest.update(content)
        digest.update(self.y[order].astype("<i8").tobytes())
        digest.update(self.index[order].astype("<i8").tobytes())
        return digest.hexdigest()

    def _file_digest(self, position: int) -> bytes:
        path = self.root / self.files[position]
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise BadInput(f"the image {str(path)[:250]} cannot be read ({error.strerror}).") from error

    @property
    def sha256(self) -> str:
        """Return the hash of preprocessing, file contents (not names), labels and identities; read once, then kept."""
        return self._fingerprint

    def describe(self) -> dict[str, Any]:
        """Return the "dataset" entry of run.json, with the preprocessing."""
        return {**super().describe(), "preprocess": asdict(self.preprocess)}
