"""What a result was made with: versions, commit, hardware, hashes."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "pyarrow", "pyautoattack")


def fairbench_version() -> str:
    """Return fairbench's own version."""
    import fairbench

    return fairbench.__version__


def versions() -> dict[str, str]:
    """Return the versions of Python, fairbench and the packages that numbers depend on, without importing them."""
    found = {"python": platform.python_version(), "fairbench": fairbench_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of the checkout that fairbench runs from, with "+dirty" if changed; None when installed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+dirty" if changed.stdout.strip() else "")


def hardware() -> dict[str, str | int]:
    """Return the processor, its cores and the platform; devices are added by whoever uses them."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return {"platform": platform.platform(), "processor": name, "cores": os.cpu_count() or 1}


def command_line() -> str:
    """Return the command as typed, without the folder of the program; `python -m fairbench` reads as `fairbench`."""
    program = Path(sys.argv[0]).name
    return shlex.join(["fairbench" if program == "__main__.py" else program, *sys.argv[1:]])


def sha256_file(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
