"""The weights of a model zoo on this machine: a local file first, else a download that continues, then its hash.

The layout is RobustBench's: `<folder>/<data set>/<norm>/<name>.pt`. Folders are `models` in the data folder
(`--data-dir`, else FAIRBENCH_DATA, else ./data) and then `./models`, where robustbench itself keeps its files.

The zoos publish no hash of most files. So a download writes `<file>.sha256` beside the file, in the format of
sha256sum, and every later load compares; a person who knows the hash writes that file first.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairbench import distributed
from fairbench.data.source import data_folder
from fairbench.errors import BadInput
from fairbench.models.file_kind import file_kind
from fairbench.provenance import sha256_file
from fairbench.whole_file import write_whole


@dataclass(frozen=True)
class WeightsFile:
    """One file of a model: its place in a models folder, its address, and how its SHA-256 begins if known."""

    relative: Path
    url: str
    sha256: str = ""


def models_folders(data_dir: str | Path | None) -> tuple[Path, Path]:
    """Return where weights are looked for, in this order.

    Raises:
        BadInput: an empty text.
    """
    return data_folder(data_dir) / "models", Path("models")


def obtain(files: Sequence[WeightsFile], folders: Sequence[Path], what: str) -> Path:
    """Return the models folder that holds all `files` of the model `what`; download what is in none of `folders`.

    Raises:
        BadInput: a download failed (the sentence says what to fetch and where to put it), or a hash differs.
    """
    for folder in folders:
        if all((folder / file.relative).is_file() for file in files):
            break
    else:
        folder = download_folder(folders)
        if distributed.is_main():
            for file in files:
                if not (folder / file.relative).is_file():
                    _download(file, folder / file.relative, what)
        distributed.barrier()
    for file in files:
        check_hash(folder / file.relative, file.sha256)
    return folder


def check_hash(path: Path, begins: str = "") -> str:
    """Return the SHA-256 of the file at `path`, equal to what `<path>.sha256` says where that exists.

    Args:
        path: the weights.
        begins: how the hash must begin.

    Raises:
        BadInput: it differs, or `<path>.sha256` holds no hash.
    """
    digest, note = sha256_file(path), Path(f"{path}.sha256")
    for expected, where in ((_noted(note), note.name), (begins, "its publisher")):
        if not digest.startswith(expected):
            raise BadInput(
                f"{str(path)[:200]} is not the file that {where} names: its sha256 is {digest[:12]}..., but must be "
                f"{expected[:12]}...; delete it and get it again, or correct {note.name} if you trust the file."
            )
    return digest


def _noted(note: Path) -> str:
    if not note.is_file():
        return ""
    words = note.read_text(encoding="utf-8", errors="replace").split()
    digest = words[0].lower() if words else ""
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise BadInput(f"{str(note)[:200]} must begin with 64 hexadecimal digits, but begins with {digest[:20]!r}.")
    return digest


def download_folder(folders: Sequence[Path]) -> Path:
    """Return the first of `folders` that can be written into, else the last."""
    return next((one for one in folders if _writable(one)), folders[-1])


def _writable(folder: Path) -> bool:
    place = folder
    while not place.exists():
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK)


def _download(file: WeightsFile, target: Path, what: str) -> None:
    """Download with gdown into `<target>.download`, whose unfinished part the next call continues; check, rename."""
    import gdown
    import requests

    waiting = Path(f"{target}.download")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        done = gdown.download(url=file.url, output=str(waiting), resume=True, use_cookies=False)
    except (OSError, requests.RequestException, gdown.exceptions.FileURLRetrievalError) as error:
        raise missing(file, target, what, f"the download failed ({type(error).__name__})") from error
    if done is None:
        raise missing(file, target, what, f"there are several {waiting.name}* beside it, of which one may stay")
    keep_download(waiting, file, target, what)


def keep_download(waiting: Path, file: WeightsFile, target: Path, what: str) -> None:
    """Check a finished download, note its hash and give it its name; a damaged one is deleted.

    Raises:
        BadInput: it is no checkpoint (a web page that says why not, perhaps), damaged, or another file.
    """
    try:
        kind = file_kind(waiting)
        if zipfile.is_zipfile(waiting) and kind == "weights":
            _check_archive(waiting)
        digest = check_hash(waiting, file.sha256)
    except BadInput as error:
        waiting.unlink()
        raise missing(file, target, what, "what was downloaded is no intact checkpoint and was deleted") from error
    write_whole(Path(f"{target}.sha256"), f"{digest}  {target.name}\n")
    waiting.replace(target)


def _check_archive(path: Path) -> None:
    """Compare all checksums, and the first offset: a server that ignores ranges sends what was there again."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
        start = min(member.header_offset for member in archive.infolist())
    if bad is not None or start != 0:
        raise BadInput(f"{path.name} is damaged ({bad or 'it begins with another file'}); get it again.")


def missing(file: WeightsFile, target: Path, what: str, why: str) -> BadInput:
    """Return the error for weights that are not here: why, what to fetch, and where to put it."""
    return BadInput(
        f"{what[:100]} needs its weights {target.name[:80]}, but {why}; fetch {file.url[:150]} and save it as "
        f"{str(target)[:150]}, or say with --data-dir where models/{file.relative.as_posix()[:80]} lies."
    )
