"""Names that are refused before torch is loaded, which takes seconds: data sets, models, methods, rules and the like.

The registries that hold them are modules of torch, but plain literals: their names are read from the source, so that no
second list has to be kept. A name that may still be right (a file, a factory, a model of torchvision) passes;
who looks it up in the registry has the last word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fairbench.errors import BadInput, unknown

#: kind -> the module that holds its registry, and the registry.
REGISTRIES = {
    "data set": ("data/registry.py", "DATASETS"),
    "model": ("models/registry.py", "MODELS"),
    "method": ("methods/__init__.py", "METHODS"),
    "class rule": ("methods/__init__.py", "CLASS_RULES"),
    "recipe": ("training/recipe_names.py", "RECIPES"),
    "augmentation": ("data/batches.py", "AUGMENTATIONS"),
    "engine": ("evaluation/units.py", "ENGINES"),
    "precision": ("models/attack_copy.py", "Precision"),
}


@cache
def names_of(kind: str) -> tuple[str, ...]:
    """Return the names of a registry in their order; none where its source cannot be read (nothing is refused then)."""
    module, registry = REGISTRIES[kind]
    try:
        source = (Path(__file__).parents[1] / module).read_text(encoding="utf-8")
    except OSError:  # installed without sources
        return ()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == registry for target in targets):
            return _names_in(getattr(node, "value", None))
    raise AssertionError(f"{module} holds no literal {registry}")


def _names_in(value: ast.expr | None) -> tuple[str, ...]:
    """Return the keys of a dict, or the elements of a tuple or of Literal[...]."""
    if isinstance(value, ast.Dict):
        return tuple(str(ast.literal_eval(key)) for key in value.keys if key is not None)
    assert value is not None
    return tuple(ast.literal_eval(value.slice if isinstance(value, ast.Subscript) else value))


def refuse_unknown(kind: str, name: str | None, also: Iterable[str] = ()) -> None:
    """Refuse a name that is not in the registry of its kind; None was not given. `also` is only for the sentence.

    Raises:
        BadInput: with the nearest name.
    """
    known = names_of(kind)
    if name is not None and known and name not in known:
        raise unknown(kind, name, [*known, *also])


def refuse_unknown_dataset(name: str | None) -> None:
    """The same for a data set; npz:PATH and folder:PATH pass."""
    if name is not None and not name.startswith(("npz:", "folder:")):
        refuse_unknown("data set", name, ("npz:FILE", "npz:FOLDER", "folder:PATH"))


def refuse_unknown_model(name: str | None) -> None:
    """The same for an architecture; factories pass, and every name that torchvision's models mention."""
    if name is not None and ":" not in name and not _torchvision_mentions(name):
        refuse_unknown("model", name, ("torchvision:NAME", "FILE.py:factory", "module:factory"))


def refuse_unknown_device(text: str) -> None:
    """Refuse what is neither cpu nor cuda nor cuda:N; whether it is there, only torch knows.

    Raises:
        BadInput: another word.
    """
    if not re.fullmatch(r"cpu(:\d+)?|cuda(:\d+)?", text, re.ASCII):
        raise BadInput(f"device must be cpu, cuda or cuda:N, but is {text[:40]!r}.")


def _torchvision_mentions(name: str) -> bool:
    """Return whether the sources of torchvision's models hold the word, or cannot be read."""
    from importlib.util import find_spec

    found = find_spec("torchvision")
    folders = [Path(place) / "models" for place in (found.submodule_search_locations or [])] if found else []
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    word = re.compile(rf"\b{re.escape(name)}\b")
    return not sources or any(word.search(path.read_text(encoding="utf-8")) for path in sources)
