"""What a record says of its images is enough to open them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairbench.data.load import load_dataset
from fairbench.errors import BadInput
from fairbench.evaluation.recorded import recorded_dataset


def test_image_files_are_prepared_as_they_were(tmp_path: Path) -> None:
    """RobustBench's ImageNet models ask for bicubic resizing; nobody should have to say so again."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(len(name)).integers(0, 256, (12, 15, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    name = f"folder:{tmp_path}"
    made = load_dataset(name, resize=8, crop=6, interpolation="bicubic")
    record = {"dataset": made.describe()}
    assert recorded_dataset(record).sha256 == made.sha256
    assert recorded_dataset(record, resize=8).sha256 == made.sha256
    with pytest.raises(BadInput, match="is not the run's: its content is"):
        recorded_dataset(record, resize=9)
    record["dataset"]["preprocess"] = {"resize": 8}
    with pytest.raises(BadInput, match=r"run\.json holds the preprocessing"):
        recorded_dataset(record)
