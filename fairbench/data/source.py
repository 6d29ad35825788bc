"""Where a data set's files lie, and the sentence for the one that is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fairbench.errors import BadInput


def data_folder(data_dir: str | Path | None) -> Path:
    """Return where data sets lie: what was given, else the environment variable FAIRBENCH_DATA, else ./data.

    Raises:
        BadInput: an empty string.
    """
    if data_dir is not None and not str(data_dir).strip():
        raise BadInput("--data-dir must be a folder, but is an empty text; leave it out to use FAIRBENCH_DATA.")
    return Path(data_dir or os.environ.get("FAIRBENCH_DATA") or "data").expanduser()


@dataclass(frozen=True)
class Source:
    """A data set's name, the folder to look in, and how a person gets the files ("{root}" stands for the folder)."""

    name: str
    root: Path
    get: str

    @property
    def places(self) -> tuple[Path, ...]:
        """The data folder itself, and its sub-folder named like the data set."""
        return (self.root, self.root / self.name)

    def find(self, *relative: str) -> Path:
        """Return the first existing one of several equivalent files or folders.

        Raises:
            BadInput: there is none; says which, where it was looked for, and how to get it.
        """
        for place in self.places:
            for path in relative:
                if (place / path).exists():
                    return place / path
        wanted = " or ".join(relative[:3])
        root = str(self.root)[:120]
        raise BadInput(
            f"{self.name} needs {wanted}, which is neither in {root} nor in {root}/{self.name}; to get it: "
            f"{self.get.format(root=root)}; or say with --data-dir or FAIRBENCH_DATA where it lies."
        )


def unreadable(path: Path, error: object, expected: str) -> BadInput:
    """Return the error for a file that is there but does not hold what it should."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return BadInput(f"{str(path)[:200]} is not {expected} ({reason}); it may be truncated: get it again.")
