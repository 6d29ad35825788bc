"""A fingerprint of a person's own code behind a network: the same weights in an edited file are another model.

Covered are the module of the factory, those of the network's classes, and what these import by name, as far as it is
not installed (site-packages, the standard library) and not fairbench's own. Files that code reads by itself are not.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from torch import nn


def source_sha256(network: nn.Module, factory: ModuleType) -> str:
    """Return the fingerprint, 64 hexadecimal digits, of the files' names without their folders, and their contents."""
    waiting = [factory, *(sys.modules.get(type(module).__module__) for module in network.modules())]
    found: dict[Path, bytes] = {}
    while waiting:
        module = waiting.pop()
        path = _own_file(module)
        if module is None or path is None or path in found:
            continue
        found[path] = path.read_bytes()
        waiting += _named_in(module)
    digest = hashlib.sha256()
    for path in sorted(found, key=lambda one: (one.name, found[one])):
        digest.update(f"{path.name} {len(found[path])}\n".encode())
        digest.update(found[path])
    return digest.hexdigest()


def _named_in(module: ModuleType) -> Iterator[ModuleType | None]:
    """Yield the modules that a module's names stand for, or come from."""
    for value in [*vars(module).values()]:
        if isinstance(value, ModuleType):
            yield value
        elif isinstance(name := getattr(value, "__module__", None), str):
            yield sys.modules.get(name)


def _own_file(module: ModuleType | None) -> Path | None:
    """Return the Python file of a module that is neither installed nor fairbench's; None for every other."""
    text = getattr(module, "__file__", None)
    if module is None or not text or module.__name__.partition(".")[0] == "fairbench":
        return None
    path = Path(text).resolve()
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    inside = any(path.is_relative_to(Path(folder).resolve()) for folder in installed)
    return path if path.is_file() and not inside else None
