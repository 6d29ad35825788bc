from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fairbench import distributed
from fairbench.data import AUGMENTATIONS, ArrayDataset, TrainingBatches, load_dataset
from fairbench.data.batches import Augmentation
from fairbench.errors import BadInput
from fairbench.sample_random import SampleRandom


def _data(count: int = 23, side: int = 6) -> ArrayDataset:
    x = (
        torch.arange(count * 2 * side * side, dtype=torch.int64)
        .remainder(251)
        .to(torch.uint8)
        .view(count, 2, side, side)
    )
    return ArrayDataset(x, np.arange(count) % 3, index=np.arange(count) * 7 + 1)


def _by_hand(image: np.ndarray, augmentation: Augmentation, shift: tuple[int, int], mirrored: bool) -> np.ndarray:
    """Pad, cut the window that `shift` moves, then mirror: the textbook order, one image at a time."""
    pad, side = augmentation.padding, image.shape[1]
    width = ((0, 0), (pad, pad), (pad, pad))
    padded = np.pad(image, width, mode="reflect") if augmentation.mode == "reflect" else np.pad(image, width)
    top, left = pad + shift[0], pad + shift[1]
    window = padded[:, top : top + side, left : left + side]
    return window[:, :, ::-1] if mirrored else window


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_augmentation_is_pad_cut_and_mirror(name: str) -> None:
    data, augmentation = _data(40), AUGMENTATIONS[name]
    random = SampleRandom(3, "augment", torch.from_numpy(data.index), epoch=2)
    result = augmentation(data.x, random).numpy()
    shift = (random.fork("crop").integers((2,), 2 * augmentation.padding + 1) - augmentation.padding).tolist()
    mirrored = random.fork("flip").integers((1,), 2)[:, 0].tolist()
    for row in range(40):
        flip = augmentation.flip and bool(mirrored[row])
        assert np.array_equal(result[row], _by_hand(data.x[row].numpy(), augmentation, shift[row], flip)), row


def test_shifts_and_flips_are_uniform() -> None:
    """900 samples over 9 shifts: 100 expected each, sd sqrt(900 * 1/9 * 8/9) = 9.4, so 50..150 is beyond 5 sd."""
    x = torch.zeros(900, 1, 9, 9, dtype=torch.uint8)
    x[:, :, 4, 4] = 255
    moved = AUGMENTATIONS["crop"](x, SampleRandom(0, "a", torch.arange(900))).flatten(1).argmax(1)
    for place in (moved // 9, moved % 9):
        counts = torch.bincount(place, minlength=9)
        assert counts.min() >= 50
        assert counts.max() <= 150
    left = torch.zeros(900, 1, 9, 9, dtype=torch.uint8)
    left[..., 0] = 1
    flipped = AUGMENTATIONS["flip"](left, SampleRandom(0, "a", torch.arange(900)))[:, 0, 0, 8].sum()
    assert 375 <= int(flipped) <= 525  # 450 expected, sd 15


def test_an_epoch_holds_every_sample_once_and_keeps_the_last_uneven_batch() -> None:
    data = _data(23)
    batches = TrainingBatches(data, batch_size=8, seed=0)
    seen = list(batches.epoch(0))
    assert [len(x) for x, _, _ in seen] == [8, 8, 7]
    assert len(batches) == 3
    index = torch.cat([index for _, _, index in seen])
    assert sorted(index.tolist()) == data.index.tolist()
    x, y, index = seen[1]
    position = (index - 1) // 7
    assert torch.equal(x, data.x[position].float() / 255)
    assert y.tolist() == data.y[position.numpy()].tolist()
    assert x.dtype == torch.float32


def test_order_and_augmentation_follow_seed_and_epoch_alone() -> None:
    data = _data(50)

    def first(seed: int, epoch: int) -> tuple[list[int], torch.Tensor]:
        x, _, index = next(iter(TrainingBatches(data, batch_size=50, seed=seed, augment="crop-flip").epoch(epoch)))
        order = index.argsort()
        return index.tolist(), x[order]

    assert first(0, 1)[0] == first(0, 1)[0]
    assert torch.equal(first(0, 1)[1], first(0, 1)[1])
    for other in (first(1, 1), first(0, 2)):
        assert other[0] != first(0, 1)[0]
        assert not torch.equal(other[1], first(0, 1)[1])


def test_the_order_is_frozen() -> None:
    """A training run that is resumed with another version must go on with the same batches."""
    assert TrainingBatches(_data(8), batch_size=4, seed=0).order(0).tolist() == [1, 3, 5, 4, 2, 0, 6, 7]


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 4), batch_size=st.integers(1, 30))
def test_an_epoch_goes_on_at_any_batch(start: int, batch_size: int) -> None:
    batches = TrainingBatches(_data(23), batch_size=batch_size, seed=5, augment="crop-flip-reflect")
    whole = list(batches.epoch(1))
    rest = list(batches.epoch(1, start))
    assert len(rest) == max(0, len(whole) - start)
    for (x, y, index), (x_rest, y_rest, index_rest) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, x_rest)
        assert torch.equal(y, y_rest)
        assert torch.equal(index, index_rest)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_processes_together_see_the_one_process_batch(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """23 samples in batches of 8; over 5 processes the last batch of 7 gives 2, 2, 1, 1, 1 rows."""
    batches = TrainingBatches(_data(23), batch_size=8, seed=1, augment="crop-flip")
    whole = list(batches.epoch(0))
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(batches.epoch(0)))
    for k, (x, _, index) in enumerate(whole):
        assert sum(len(share[k][2]) for share in shares) == len(index)
        together = torch.cat([share[k][2] for share in shares])
        pixels = torch.cat([share[k][0] for share in shares])
        assert torch.equal(together.sort()[0], index.sort()[0])
        assert torch.equal(pixels[together.argsort()], x[index.argsort()])


def test_a_process_without_rows_gets_an_empty_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    monkeypatch.setattr(distributed, "rank", lambda: 3)
    last = list(TrainingBatches(_data(6), batch_size=4, seed=0, augment="crop-flip").epoch(0))[-1]
    assert last[0].shape == (0, 2, 6, 6)
    assert last[1].shape == last[2].shape == (0,)


def test_image_files_give_the_same_batches_as_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    for i in range(10):
        path = tmp_path / f"train/{'ab'[i // 5]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(path)
    (tmp_path / "test").symlink_to(tmp_path / "train")
    files = load_dataset(f"folder:{tmp_path}", "train", workers=2)
    arrays = ArrayDataset(x.transpose(0, 3, 1, 2), np.arange(10) // 5).take(files.index, selection="same")
    both = [
        list(TrainingBatches(data, batch_size=3, seed=0, augment="crop-flip").epoch(1, 1)) for data in (files, arrays)
    ]
    for (x_files, y_files, i_files), (x_arrays, y_arrays, i_arrays) in zip(*both, strict=True):
        assert torch.equal(x_files, x_arrays)
        assert torch.equal(y_files, y_arrays)
        assert torch.equal(i_files, i_arrays)


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(BadInput, match="batch size"):
        TrainingBatches(_data(), batch_size=0, seed=0)
    with pytest.raises(BadInput, match="Did you mean 'crop-flip'"):
        TrainingBatches(_data(), batch_size=1, seed=0, augment="crop-filp")
    small = TrainingBatches(_data(side=4), batch_size=4, seed=0, augment="crop-flip-reflect")
    with pytest.raises(BadInput, match="needs images larger"):
        next(small.epoch(0))


def test_float_pixels_stay_as_they_are() -> None:
    x = torch.rand(5, 1, 3, 3)
    batch = next(TrainingBatches(ArrayDataset(x, np.zeros(5, np.int64)), batch_size=5, seed=0).epoch(0))
    assert torch.equal(batch[0], x[batch[2]])


@pytest.mark.gpu
def test_the_device_changes_no_number() -> None:
    data = load_dataset("digits", "train")
    here, there = (
        list(TrainingBatches(data, batch_size=100, seed=0, device=device, augment="crop-flip").epoch(2))
        for device in ("cpu", "cuda")
    )
    for a, b in zip(here, there, strict=True):
        assert all(torch.equal(left, right.cpu()) for left, right in zip(a, b, strict=True))
