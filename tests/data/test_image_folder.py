from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as oracle

from fairbench.data import load_dataset
from fairbench.data.image_folder import INTERPOLATIONS, ImageFolder, Preprocess
from fairbench.errors import BadInput

Write = Callable[..., Path]


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(5, 60),
    height=st.integers(5, 60),
    resize=st.integers(5, 40),
    cut=st.integers(0, 4),
    interpolation=st.sampled_from(sorted(INTERPOLATIONS)),
)
def test_resize_and_crop_are_torchvisions(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, resize: int, cut: int, interpolation: str
) -> None:
    path = tmp_path_factory.mktemp("image") / "a.png"
    pixels = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    crop = max(1, resize - cut)
    mode = oracle.InterpolationMode(interpolation)
    expected = oracle.center_crop(oracle.resize(Image.fromarray(pixels), resize, mode), crop)
    assert np.array_equal(Preprocess(resize, crop, interpolation).read(path), np.asarray(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_8_bit_image_becomes_rgb(write_image: Write, mode: str) -> None:
    path = write_image("a/x.tiff" if mode == "CMYK" else "a/x.png", mode=mode)
    assert Preprocess().read(path).shape == (12, 12, 3)


def test_sixteen_bits_would_be_clipped_and_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(BadInput, match=r"deep\.png has more than 8 bits"):
        Preprocess().read(tmp_path / "deep.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": 0}, "--resize must be"),
        ({"crop": -1}, "--crop must be"),
        ({"resize": 10, "crop": 11}, "larger than --resize"),
        ({"interpolation": "bilinaer"}, "Did you mean 'bilinear'"),
    ],
)
def test_preprocessing_that_makes_no_sense(values: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replace(Preprocess(), **values)  # type: ignore[arg-type]


def _folder(tmp_path: Path, write_image: Write, count: int = 6) -> ImageFolder:
    for i in range(count):
        write_image(f"{'cat' if i % 2 else 'ant'}/{i}.png", value=10 * i)
    data = load_dataset(f"folder:{tmp_path}", workers=2)
    assert isinstance(data, ImageFolder)
    return data


def test_classes_and_images_are_in_sorted_order(tmp_path: Path, write_image: Write) -> None:
    data = _folder(tmp_path, write_image)
    assert data.class_names == ("ant", "cat")
    assert data.files == ["ant/0.png", "ant/2.png", "ant/4.png", "cat/1.png", "cat/3.png", "cat/5.png"]
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.shape == (3, 12, 12)
    assert data.pixels([4, 0])[:, 0, 3, 3].tolist() == [30, 0]


def test_the_stream_reads_one_block_ahead_and_not_more(
    tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _folder(tmp_path, write_image)
    read: list[str] = []
    lock = threading.Lock()
    original = Preprocess.read

    def counted(self: Preprocess, path: Path) -> np.ndarray:
        with lock:
            read.append(path.name)
        return original(self, path)

    monkeypatch.setattr(Preprocess, "read", counted)
    blocks = [np.array([i]) for i in range(6)]
    stream = data.stream(blocks)
    assert int(next(stream)[0, 0, 0, 0]) == 0
    assert len(read) <= 2
    assert [int(block[0, 0, 0, 0]) for block in stream] == [20, 40, 10, 30, 50]
    stopped = data.stream(blocks)
    next(stopped)
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fairbench-images")]


def test_a_subset_keeps_identities_and_has_its_own_fingerprint(tmp_path: Path, write_image: Write) -> None:
    data = _folder(tmp_path, write_image)
    part = data.take(np.array([4, 1]), selection="two")
    assert part.index.tolist() == [4, 1]
    assert part.sha256 == data.take(np.array([1, 4]), selection="two").sha256
    assert part.sha256 != data.sha256
    assert data.first_per_class(1).index.tolist() == [0, 3]


def test_the_fingerprint_is_of_contents_and_preprocessing(tmp_path: Path, write_image: Write) -> None:
    first = _folder(tmp_path, write_image)
    assert first.sha256 == load_dataset(f"folder:{tmp_path}").sha256
    assert first.sha256 != load_dataset(f"folder:{tmp_path}", resize=8, crop=8).sha256
    (tmp_path / "ant/0.png").rename(tmp_path / "ant/00.png")
    assert load_dataset(f"folder:{tmp_path}").sha256 == first.sha256
    write_image("ant/00.png", value=77)
    assert load_dataset(f"folder:{tmp_path}").sha256 != first.sha256


def test_preprocessing_is_recorded(tmp_path: Path, write_image: Write) -> None:
    _folder(tmp_path, write_image)
    data = load_dataset(f"folder:{tmp_path}", resize=10, crop=8, interpolation="bicubic")
    assert data.describe()["preprocess"] == {"resize": 10, "crop": 8, "interpolation": "bicubic"}
    assert data.shape == (3, 8, 8)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_broken_image_is_named(tmp_path: Path, write_image: Write, content: bytes) -> None:
    data = _folder(tmp_path, write_image)
    (tmp_path / "cat/3.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"cat/3\.png cannot be read") as error:
        list(data.stream([np.arange(6)]))
    assert len(str(error.value)) < 600


def test_a_truncated_jpeg_is_an_error_not_grey_pixels(tmp_path: Path, write_image: Write) -> None:
    path = write_image("ant/0.jpg", size=(64, 64))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"ant/0\.jpg"):
        load_dataset(f"folder:{tmp_path}")


def test_sizes_that_differ_name_both_and_the_options(tmp_path: Path, write_image: Write) -> None:
    data = _folder(tmp_path, write_image)
    write_image("cat/3.png", size=(20, 10))
    with pytest.raises(BadInput, match=r"ant/0\.png is 12x12, cat/3\.png is 20x10; bring them to one size"):
        data.pixels([4])
    with pytest.raises(BadInput, match="smaller than --crop 11"):
        load_dataset(f"folder:{tmp_path}", crop=11).pixels([4])


def test_links(tmp_path: Path, write_image: Write) -> None:
    """A class folder or an image may be a link; a link back up is not followed; a dangling one is named."""
    root = tmp_path / "set"
    write_image("elsewhere/b/1.png")
    write_image("set/a/0.png")
    (root / "b").symlink_to(tmp_path / "elsewhere/b", target_is_directory=True)
    (root / "a/up").symlink_to(root, target_is_directory=True)
    (root / "a/1.png").symlink_to(tmp_path / "elsewhere/b/1.png")
    data = load_dataset(f"folder:{root}")
    assert isinstance(data, ImageFolder)
    assert data.files == ["a/0.png", "a/1.png", "b/1.png"]
    (tmp_path / "elsewhere/b/1.png").unlink()
    with pytest.raises(BadInput, match=r"a/1\.png cannot be read"):
        data.pixels([1])
    with pytest.raises(BadInput, match=r"holds no image|cannot be read"):
        load_dataset(f"folder:{root}").pixels([2])


def test_what_is_no_image_is_left_out(tmp_path: Path, write_image: Write) -> None:
    write_image("a/0.png")
    write_image("a/deeper/1.PNG")
    write_image(".git/0.png")
    for name in ("a/.hidden.png", "a/notes.txt", "README"):
        (tmp_path / name).write_text("text")
    data = load_dataset(f"folder:{tmp_path}")
    assert isinstance(data, ImageFolder)
    assert data.files == ["a/0.png", "a/deeper/1.PNG"]


def test_folders_that_are_none(tmp_path: Path, write_image: Write) -> None:
    with pytest.raises(BadInput, match="no sub-folders"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no image"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.raises(BadInput, match="is a file"):
        load_dataset(f"folder:{write_image('a/0.png')}")


def test_train_and_test_inside_make_it_trainable(tmp_path: Path, write_image: Write) -> None:
    for part in ("train", "test"):
        for i in range(10):
            write_image(f"{part}/{'ab'[i % 2]}/{i}.png", value=i)
    train, held = (load_dataset(f"folder:{tmp_path}", split) for split in ("train", "validation"))
    assert (len(train), len(held), len(load_dataset(f"folder:{tmp_path}"))) == (8, 2, 10)
    with pytest.raises(BadInput, match="no training part"):
        load_dataset(f"folder:{tmp_path / 'test'}", "train")


def test_workers_must_be_at_least_one(tmp_path: Path, write_image: Write) -> None:
    write_image("a/0.png")
    with pytest.raises(BadInput, match="reading threads"):
        load_dataset(f"folder:{tmp_path}", workers=0)


def test_a_folder_that_may_not_be_read(tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image("a/0.png")

    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadInput, match="Permission denied"):
        load_dataset(f"folder:{tmp_path}")
