from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairbench.data import load_dataset
from fairbench.errors import BadInput

X = np.arange(20 * 5 * 4 * 3, dtype=np.uint8).reshape(20, 5, 4, 3)
Y = np.arange(20) % 4


def test_a_file_is_a_test_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X, y=Y, class_names=np.array(list("abcd")), extra=np.zeros(3))
    data = load_dataset(f"npz:{tmp_path / 'own.npz'}")
    assert (data.shape, data.class_names, data.split) == ((3, 5, 4), tuple("abcd"), "test")
    assert np.array_equal(data.pixels([7]).numpy()[0], X[7].transpose(2, 0, 1))
    with pytest.raises(BadInput, match="evaluation only"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}", "train")


def test_grey_images_need_no_channel_and_names_default_to_numbers(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "own.npz", x=X[..., 0], y=Y.astype(np.uint8))
    data = load_dataset("npz:own.npz", data_dir=tmp_path)
    assert (data.shape, data.class_names, data.name) == ((1, 5, 4), tuple("0123"), "npz:own.npz")


def test_names_say_that_the_first_classes_have_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X, y=Y + 1, class_names=np.array(list("abcde")))
    assert load_dataset(f"npz:{tmp_path / 'own.npz'}").class_names == tuple("abcde")


def test_shards_are_joined_in_order_of_number(tmp_path: Path) -> None:
    for i in range(11):
        np.savez(tmp_path / f"train-{i}.npz", x=np.full((20, 4, 4), i, np.uint8), y=Y)
    np.savez(tmp_path / "test.npz", x=X[:, :4, :4, 0], y=Y)
    pool = [load_dataset(f"npz:{tmp_path}", split) for split in ("train", "validation")]
    index = np.concatenate([part.index for part in pool])
    value = np.concatenate([part.pixels(range(len(part))).numpy()[:, 0, 0, 0] for part in pool])
    assert np.array_equal(value[np.argsort(index)], np.repeat(np.arange(11), 20))
    assert np.bincount(pool[1].y).tolist() == [5, 5, 5, 5]  # a tenth of 220 / 4 = 55, and less than a fifth
    assert len(load_dataset(f"npz:{tmp_path}")) == 20


def test_without_names_all_files_say_how_many_classes_there_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=X, y=Y + 3)
    np.savez(tmp_path / "test.npz", x=X, y=Y)
    assert load_dataset(f"npz:{tmp_path}").num_classes == 7


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"y": Y}, "no array 'x'"),
    "no y": ({"x": X}, "no array 'y'"),
    "float pixels": ({"x": X / 255.0, "y": Y}, "multiply pixels"),
    "channels first": ({"x": X.transpose(0, 3, 1, 2), "y": Y}, "channels last"),
    "two channels": ({"x": X[..., :2], "y": Y}, "C 1 or 3"),
    "flat": ({"x": X.reshape(20, -1), "y": Y}, r"shape \(20, 60\)"),
    "empty": ({"x": X[:0], "y": Y[:0]}, r"shape \(0,"),
    "float labels": ({"x": X, "y": Y * 1.0}, "y as float64"),
    "too few labels": ({"x": X, "y": Y[:5]}, "20 images"),
    "labels from 1": ({"x": X, "y": Y + 1}, "labels from 1 to 4 and no class_names; .* subtract 1"),
    "negative label": ({"x": X, "y": Y - 1}, "labels from -1"),
    "huge label": ({"x": X, "y": Y + (1 << 40)}, "labels from"),
    "label beyond the names": ({"x": X, "y": Y, "class_names": np.array(["a", "b"])}, r"0 \.\. 1"),
    "names twice": ({"x": X, "y": Y, "class_names": np.array(["a", "b", "a", "c"])}, "not all different"),
    "names of bytes": ({"x": X, "y": Y, "class_names": np.array([b"a"])}, "class_names as"),
    "object labels": ({"x": X, "y": np.array([*Y], dtype=object)}, "object array 'y'"),
    "object names": ({"x": X, "y": Y, "class_names": np.array(["a", None], dtype=object)}, "object array"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BROKEN))
def test_arrays_that_do_not_fit_are_one_sentence(tmp_path: Path, case: str) -> None:
    arrays, message = BROKEN[case]
    np.savez(tmp_path / "own.npz", allow_pickle=True, **arrays)
    with pytest.raises(BadInput, match=message) as error:
        load_dataset(f"npz:{tmp_path / 'own.npz'}")
    assert len(str(error.value)) < 600


def test_headers_are_checked_before_an_array_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "own.npz", x=X / 255.0, y=Y)
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: pytest.fail("read before the headers were checked"))
    with pytest.raises(BadInput, match="float64"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}")


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.marker,))


def test_an_object_array_does_not_run_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", allow_pickle=True, x=np.array([_Runs(tmp_path / "ran")], dtype=object), y=Y)
    with pytest.raises(BadInput, match="unpickled"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}")
    assert not (tmp_path / "ran").exists()


def test_an_array_twice_in_one_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X, y=Y)
    with zipfile.ZipFile(tmp_path / "own.npz") as archive:
        content = archive.read("x.npy")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(BadInput, match="'x' twice"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X, y=Y)
    with zipfile.ZipFile(tmp_path / "own.npz") as archive:
        x, y = archive.read("x.npy"), archive.read("y.npy")
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x.npy", x.replace(b"(20, 5, 4, 3)", b"(90, 5, 4, 3)"))
        archive.writestr("y.npy", y.replace(b"(20,)", b"(90,)"))
    with pytest.raises(BadInput, match="should have 5400 bytes"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "own.npz"
    np.savez_compressed(path, x=X, y=Y)
    return path.read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_archive_is_bad_input_or_harmless(
    tmp_path: Path, whole: bytes, place: float, value: int, cut: bool
) -> None:
    at = int(place * (len(whole) - 1))
    (tmp_path / "own.npz").write_bytes(whole[:at] if cut else whole[:at] + bytes([value]) + whole[at + 1 :])
    try:
        count, text = len(load_dataset(f"npz:{tmp_path / 'own.npz'}")), ""
    except BadInput as error:
        count, text = 20, str(error)
    assert count == 20
    assert len(text) < 600


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["test"], "no train.npz"),
        (["train"], "no test.npz"),
        (["train", "train-0", "test"], "both train.npz and train-0.npz"),
        (["train-0", "train-2", "test"], "train-1.npz is missing"),
    ],
)
def test_a_folder_that_is_not_whole(tmp_path: Path, files: list[str], message: str) -> None:
    for file in files:
        np.savez(tmp_path / f"{file}.npz", x=X, y=Y)
    with pytest.raises(BadInput, match=message):
        load_dataset(f"npz:{tmp_path}", "test" if "test" not in files else "train")


def test_files_that_disagree(tmp_path: Path) -> None:
    save: Callable[..., None] = np.savez
    save(tmp_path / "train.npz", x=X, y=Y, class_names=np.array(list("abcd")))
    save(tmp_path / "test.npz", x=X, y=Y, class_names=np.array(list("dcba")))
    with pytest.raises(BadInput, match="disagree about class_names"):
        load_dataset(f"npz:{tmp_path}")
    (tmp_path / "train.npz").unlink()
    save(tmp_path / "train-0.npz", x=X, y=Y, class_names=np.array(list("dcba")))
    save(tmp_path / "train-1.npz", x=X[:, :4], y=Y, class_names=np.array(list("dcba")))
    with pytest.raises(BadInput, match="differ in image size"):
        load_dataset(f"npz:{tmp_path}", "train")
