"""What a checkpoint file is, from its first bytes and, for an archive, the listing of its members.

Nothing is unpickled to find out, and torch is not loaded.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from fairbench.errors import BadInput

Kind = Literal["weights", "safetensors", "torchscript", "export"]


def check_file(path: Path) -> bytes:
    """Return the first bytes of the file at `path`.

    Raises:
        BadInput: it is missing, a folder, unreadable or empty.
    """
    shown = str(path)[:200]
    if path.is_dir():
        raise BadInput(f"the checkpoint {shown} is a folder; give the file with the weights inside it.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise BadInput(f"the checkpoint {shown} does not exist; give a .pt, .pth or .safetensors file.") from None
    except OSError as error:
        raise BadInput(f"the checkpoint {shown} cannot be read ({error.strerror}).") from error
    if not start:
        raise BadInput(f"the checkpoint {shown} is empty; its writing was probably interrupted: get it again.")
    return start


def file_kind(path: Path) -> Kind:
    """Say what the file at `path` is, from its first bytes and its listing alone.

    Raises:
        BadInput: as `check_file`, or it is truncated, or no checkpoint at all.
    """
    start, shown = check_file(path), str(path)[:200]
    if start[:4] == b"PK\x03\x04":
        return _archive_kind(path, shown)
    if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if start[:1] == b"\x80":
        return "weights"  # torch's format before 1.6
    raise BadInput(
        f"{shown} is not a checkpoint: it begins with {start[:8]!r}; "
        "give a file that torch.save(model.state_dict(), ...) or safetensors wrote."
    )


def _archive_kind(path: Path, shown: str) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(f"the checkpoint {shown} is truncated or damaged ({error}); get it again.") from error
    inner = [name.split("/", 1)[-1] for name in names]
    if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
        return "torchscript"
    if any(name in ("archive_format", "serialized_exported_program.json") for name in [*inner, *names]) or any(
        name.startswith("models/") and name.endswith(".json") for name in inner
    ):
        return "export"
    if "data.pkl" not in inner:
        raise BadInput(
            f"{shown} is a zip archive without weights (it holds {', '.join(names)[:80] or 'nothing'}); "
            "give a file that torch.save(model.state_dict(), ...) wrote."
        )
    return "weights"


def usable_kind(path: Path, *, trust_program: bool) -> Kind:
    """Say what the file at `path` is, from its first bytes and its listing alone.

    Raises:
        BadInput: it is missing, truncated, no checkpoint, or a program that was not said to be trusted.
    """
    kind = file_kind(path)
    if kind in ("torchscript", "export") and not trust_program:
        raise _refusal(path, kind)
    return kind


def _refusal(path: Path, kind: str) -> BadInput:
    """Return the sentence for a program that nobody has said to trust."""
    what = "a TorchScript archive" if kind == "torchscript" else "a torch.export file"
    return BadInput(
        f"{str(path)[:200]} is {what}: a program, and loading one can run code, so it was not loaded; "
        "add --trust-program if you trust its author, or give the weights alone."
    )
