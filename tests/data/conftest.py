from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> Write:
    """Write a small picture whose every pixel is (value, value // 2, 255 - value)."""

    def write(relative: str, value: int = 100, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Path:
        path = tmp_path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.empty((size[1], size[0], 3), np.uint8)
        pixels[:] = (value, value // 2, 255 - value)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write


@pytest.fixture
def random_images() -> Callable[..., np.ndarray]:
    def images(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return images
