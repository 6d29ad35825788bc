"""imagenette, ImageNet and tiny-imagenet from small trees in their true layouts."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from fairbench.data import class_names, load_dataset
from fairbench.data.image_folder import ImageFolder
from fairbench.data.imagenet_names import imagenet_names
from fairbench.errors import BadInput

Write = Callable[..., Path]


def _files(name: str, split: str, root: Path) -> ImageFolder:
    data = load_dataset(name, split, data_dir=root)  # type: ignore[arg-type]
    assert isinstance(data, ImageFolder)
    return data


def test_imagenette(tmp_path: Path, write_image: Write) -> None:
    for wnid in class_names.IMAGENETTE:
        write_image(f"imagenette2-160/val/{wnid}/{wnid}_1.JPEG", size=(200, 160))
        for i in range(5):
            write_image(f"imagenette2-160/train/{wnid}/{wnid}_{i}.JPEG", size=(160, 170))
    test = _files("imagenette", "test", tmp_path)
    assert test.shape == (3, 160, 160)
    assert test.class_names[:2] == ("tench", "English springer")
    assert [len(_files("imagenette", split, tmp_path)) for split in ("test", "train", "validation")] == [10, 40, 10]
    write_image("imagenette2-160/val/n99/0.JPEG")
    with pytest.raises(BadInput, match=r"10 classes named by wnids, but .* holds 11"):
        _files("imagenette", "test", tmp_path)


def test_imagenet_validation_images(tmp_path: Path, write_image: Write) -> None:
    wnids = [f"n{i:08d}" for i in range(1000)]
    original = write_image("imagenet/val/n00000000/one.JPEG", size=(300, 260))
    for wnid in wnids[1:]:
        (tmp_path / "imagenet/val" / wnid).mkdir()
        (tmp_path / "imagenet/val" / wnid / "one.JPEG").symlink_to(original)
    (tmp_path / "imagenet/LOC_synset_mapping.txt").write_text("n00000000 tench, Tinca tinca\nn00000007 cock\n")
    data = _files("imagenet", "test", tmp_path)
    assert (len(data), data.shape, data.y.tolist()) == (1000, (3, 224, 224), list(range(1000)))
    assert data.class_names[0] == "n00000000 tench"
    assert data.class_names[7] == "n00000007 cock"
    assert data.class_names[8] == "n00000008"
    assert data.describe()["preprocess"] == {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    (tmp_path / "imagenet/val/n00000999/one.JPEG").unlink()
    (tmp_path / "imagenet/val/n00000999").rmdir()
    with pytest.raises(BadInput, match="1000 classes named by wnids"):
        _files("imagenet", "test", tmp_path)


def test_imagenets_wnids_become_its_names(tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand folders that are taken for ImageNet's: `imagenet` and `folder:` name them alike."""
    wnids = [f"n{i:08d}" for i in range(1000)]
    digest = hashlib.sha256("\n".join(wnids).encode()).hexdigest()
    monkeypatch.setattr("fairbench.data.imagenet_names.WNIDS_SHA256", digest)
    original = write_image("imagenet/val/n00000000/one.JPEG", size=(224, 224))
    for wnid in reversed(wnids[1:]):  # the order on the disk says nothing
        (tmp_path / "imagenet/val" / wnid).mkdir()
        (tmp_path / "imagenet/val" / wnid / "one.JPEG").symlink_to(original)
    for name in ("imagenet", f"folder:{tmp_path / 'imagenet' / 'val'}"):
        data = _files(name, "test", tmp_path)
        assert data.class_names[:3] == ("tench", "goldfish", "great white shark")
        assert (data.class_names[517], data.class_names[999]) == ("crane", "toilet tissue")
        assert data.files[517].startswith("n00000517/")
    (tmp_path / "imagenet/val/n00000999").rename(tmp_path / "imagenet/val/n00001000")
    assert _files(f"folder:{tmp_path / 'imagenet' / 'val'}", "test", tmp_path).class_names[0] == "n00000000"


def test_the_names_belong_to_the_wnids_in_order_of_label() -> None:
    """Torchvision's names against timm's list of wnids and lemmas: the first lemma, but for two cranes and maillots."""
    pytest.importorskip("timm")
    info = files("timm.data") / "_info"
    wnids = (info / "imagenet_synsets.txt").read_text().split()
    assert wnids == sorted(wnids)  # torchvision's ImageFolder and ours label by this order
    names = imagenet_names(wnids)
    assert names is not None
    assert len({*names}) == 1000
    lines = (info / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemmas = dict(line.split("\t")[:2] for line in lines)
    other = [
        name for wnid, name in zip(wnids, names, strict=True) if name.lower() != lemmas[wnid].split(",")[0].lower()
    ]
    assert other == ["crane bird", "maillot tank suit"]
    swapped = [wnids[1], wnids[0], *wnids[2:]]
    assert imagenet_names(swapped) is None
    assert imagenet_names(wnids[:-1]) is None


def test_the_wnids_are_robustbenchs() -> None:
    spec = importlib.util.find_spec("robustbench")
    if spec is None or spec.origin is None:
        pytest.skip("the extra 'zoo' is not installed")
    found = json.loads((Path(spec.origin).parent / "helper_files" / "imagenet_class_to_id_map.json").read_text())
    labels = [found[wnid] for wnid in sorted(found)]
    assert labels == list(range(1000))
    assert imagenet_names(sorted(found)) is not None


WNIDS = [f"n{i:08d}" for i in range(200)]


@pytest.fixture
def tiny(tmp_path: Path, write_image: Write) -> Path:
    """Two training images of each class and one validation image of the first three, listed out of order."""
    root = tmp_path / "tiny-imagenet-200"
    first = write_image("tiny-imagenet-200/train/n00000000/images/n00000000_0.JPEG", size=(64, 64), mode="L")
    for wnid in WNIDS:
        (root / "train" / wnid / "images").mkdir(parents=True, exist_ok=True)
        for i in range(2):
            if not (root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG").exists():
                (root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG").symlink_to(first)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (root / "words.txt").write_text("n00000001\tgoldfish, Carassius auratus\n")
    for i in range(3):
        write_image(f"tiny-imagenet-200/val/images/val_{i}.JPEG", value=60 * i, size=(64, 64))
    (root / "val/val_annotations.txt").write_text(
        "val_0.JPEG\tn00000002\t0\t32\t44\t62\nval_1.JPEG\tn00000000\t0\t0\t9\t9\nval_2.JPEG\tn00000001\t0\t0\t9\t9\n"
    )
    return tmp_path


def test_tiny_imagenets_annotated_validation_images(tiny: Path) -> None:
    data = _files("tiny-imagenet", "test", tiny)
    assert data.shape == (3, 64, 64)
    assert data.files == ["images/val_1.JPEG", "images/val_2.JPEG", "images/val_0.JPEG"]
    assert data.y.tolist() == [0, 1, 2]
    assert data.class_names[:3] == ("n00000000", "n00000001 goldfish", "n00000002")
    assert abs(int(data.pixels([2])[0, 0, 0, 0]) - 0) < 4
    assert (len(_files("tiny-imagenet", "train", tiny)), len(_files("tiny-imagenet", "validation", tiny))) == (200, 200)


def test_tiny_imagenet_sorted_into_class_folders(tiny: Path, write_image: Write) -> None:
    base = tiny / "tiny-imagenet-200/val"
    expected = _files("tiny-imagenet", "test", tiny)
    (base / "val_annotations.txt").unlink()
    for i, wnid in enumerate(WNIDS):
        target = base / wnid / f"{wnid}.JPEG"
        target.parent.mkdir()
        target.symlink_to(base / f"images/val_{(1, 2, 0)[i] if i < 3 else 0}.JPEG")
    data = _files("tiny-imagenet", "test", tiny)
    assert data.y.tolist() == list(range(200))
    assert bool((data.pixels([0, 1, 2]) == expected.pixels([0, 1, 2])).all())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("val_0.JPEG\tn99999999\n", "n99999999"),
        ("../x.JPEG\tn00000000\n", "line"),
        ("garbage\n", "line"),
        ("\n", "empty"),
    ],
)
def test_tiny_imagenet_with_broken_annotations(tiny: Path, content: str, message: str) -> None:
    (tiny / "tiny-imagenet-200/val/val_annotations.txt").write_text(content)
    with pytest.raises(BadInput, match=message):
        _files("tiny-imagenet", "test", tiny)


def test_tiny_imagenet_with_a_class_missing(tiny: Path) -> None:
    (tiny / "tiny-imagenet-200/wnids.txt").write_text("\n".join(WNIDS[:7]))
    with pytest.raises(BadInput, match="200 classes"):
        _files("tiny-imagenet", "test", tiny)
