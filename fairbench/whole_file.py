"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fairbench.errors import BadInput, WriteFailed


def write_whole(path: Path, write: Callable[[IO[bytes]], object] | bytes | str, *, durable: bool = True) -> None:
    """Write `path` under a temporary name in the same folder, flush it to the disk, and rename it.

    A reader sees the old file or the new one, never half of it, also after a kill or a power cut.

    Args:
        path: the file.
        write: the content, or a function that writes it to a binary file.
        durable: False for what the same command makes again: it is not waited for until the disk has it, so that a
            power cut (no kill) may lose it.

    Raises:
        WriteFailed: the folder is full or went away; nothing is left under the temporary name.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            if isinstance(write, str):
                file.write(write.encode())
            elif isinstance(write, bytes):
                file.write(write)
            else:
                write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any file the person writes.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        raise WriteFailed(
            f"could not write {path}: {error.strerror or error}. What was saved before is intact; "
            "free some space or choose another folder with --out, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def writable_folder(path: Path) -> Path:
    """Create the folder `path` and prove that a file can be written in it, before any work is done.

    Raises:
        BadInput: it is a file, cannot be created, or is not writable.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _probe(path)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    return path


def usable_folder(path: Path) -> Path:
    """Prove that `path` is a folder in which a file can be written, or can become one; leave nothing behind.

    For everything that may still be refused: where nothing is made, nothing has to be taken away again, not even under
    the hands of another process. `writable_folder` follows when the work begins.

    Raises:
        BadInput: it is a file, cannot be created, or is not writable.
    """
    path = Path(path)
    try:
        existing = path
        while not _exists(existing):
            existing = existing.parent
        _probe(existing)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    return path


def _exists(path: Path) -> bool:
    """Return whether something is there; unlike Path.exists, raises where the name itself cannot be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _probe(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"fairbench")


def _unusable(path: Path, error: Exception) -> BadInput:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "it is a file" if path.is_file() else "a file lies in its way"
    return BadInput(
        f"the output folder {str(path)[:200]!r} cannot be used: {reason}. Give --out a folder that can be written."
    )
