"""A person's own architecture: `module:factory` or `FILE.py:factory`.

A factory is any callable that, called without arguments, returns an nn.Module. This runs the person's code, so it is
only ever done for what was typed on the command line, never for what a file says.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType

from torch import nn

from fairbench.errors import BadInput
from fairbench.models.own_source import source_sha256


def is_factory(name: str) -> bool:
    """Say whether `name` has the form of a factory, and not of a known architecture ("torchvision:resnet50")."""
    return ":" in name and not name.startswith("torchvision:")


def build_from_factory(name: str) -> tuple[nn.Module, str]:
    """Import the module or file and call the factory in it without arguments.

    Returns:
        The network, and the fingerprint of the person's code behind it (see `own_source`).

    A FILE.py may lie anywhere; it is imported under a private name, and may import what lies beside it. A module may
    also lie in the current folder. What the code prints goes to stderr.

    Raises:
        BadInput: nothing to import, no such callable, a call that raises, or a result that is no nn.Module.
    """
    place, _, attribute = name.rpartition(":")
    if not place.strip() or not attribute.strip():
        raise BadInput(f"--model {name[:100]!r} must be FILE.py:factory or module:factory, with a name on both sides.")
    path = Path(place).expanduser() if place.endswith(".py") else None
    if path is not None and not path.is_file():
        raise BadInput(f"--model {name[:200]}: the file {str(path)[:200]} does not exist; give a Python file.")
    with _importable(path.resolve().parent if path is not None else Path.cwd()), contextlib.redirect_stdout(sys.stderr):
        try:
            module = _import_file(path) if path is not None else importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise BadInput(f"--model {name[:200]} cannot be imported: {_reason(error)}.") from error
        try:
            factory = reduce(getattr, attribute.split("."), module)
        except AttributeError:
            public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise BadInput(
                f"--model {name[:200]}: there is no {attribute[:60]!r} in it; "
                f"it has: {', '.join(public)[:150] or 'nothing that can be called'}."
            ) from None
        if isinstance(factory, nn.Module) or not callable(factory):
            raise BadInput(
                f"--model {name[:200]}: {attribute[:60]!r} must be a function or class that returns a network, "
                f"but is an object of type {type(factory).__name__}."
            )
        try:
            network = factory()
        except (Exception, SystemExit) as error:
            raise BadInput(f"--model {name[:200]} was called without arguments and raised {_reason(error)}.") from error
    if not isinstance(network, nn.Module):
        raise BadInput(f"--model {name[:200]} must return an nn.Module, but returned {type(network).__name__}.")
    return network, source_sha256(network, module)


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported, after everything that is installed."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_file(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    private = f"_fairbench_model_{digest}"
    spec = importlib.util.spec_from_file_location(private, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private]
        raise
    return module


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__} ({text})" if text else type(error).__name__
