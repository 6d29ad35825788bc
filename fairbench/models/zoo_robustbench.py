"""RobustBench's models through the package `robustbench`, whose release 1.1.1 does not import as it is installed.

What is in the way, and what is done about it, here only and for the time of a `with`:

- `import robustbench` runs `eval.py` and `loaders.py`, which import `autoattack` (PyPI has `pyautoattack`) and
  `pkg_resources` (gone from setuptools 82). Neither is needed for a model: the package is entered without its
  `__init__.py`, under its own name, and leaves `sys.modules` and timm's registry as they were.
- Its loader calls `torch.load`: it gets ours, which reads weights only. Its download is not used, see `zoo_files`.
- It loads some checkpoints with `strict=False`: keys that are missing are allowed to be constants of a
  normalisation, nothing else.
- Some definitions call `.cuda()` when they are built (Bai2023Improving_*): without CUDA, it does nothing.
- `Standard_R50` downloads torchvision's weights when it is built: they are a file like all others.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fairbench.errors import BadInput, unknown
from fairbench.models.weights import read_content, read_weights
from fairbench.models.zoo_files import WeightsFile

#: What a checkpoint may lack although it is loaded: RobustBench's normalisation in front of a network.
_CONSTANTS = ("mu", "sigma", "mean", "std")
_R50_URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"


class Definition(NamedTuple):
    """A model of the zoo: data set ("cifar10", "cifar100", "imagenet"), norm ("Linf", "L2") and name."""

    dataset: str
    norm: str
    name: str

    def __str__(self) -> str:
        return f"rb:{self.dataset}/{self.norm}/{self.name}"


@contextmanager
def robustbench() -> Iterator[ModuleType]:
    """Import `robustbench.utils` privately, and the model definitions with it; definitions are built inside.

    Raises:
        BadInput: the extra is not installed, or one of its dependencies is missing.
    """
    spec = importlib.util.find_spec("robustbench")
    if spec is None or spec.submodule_search_locations is None:
        raise BadInput("rb: names need the package robustbench, which is not installed; pip install -e '.[zoo]'.")
    package = ModuleType("robustbench")
    package.__path__ = list(spec.submodule_search_locations)
    before = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in before:
        del sys.modules[name]
    with warnings.catch_warnings(), _registry_restored(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # timm's, of its own old names
        sys.modules["robustbench"] = package
        try:
            yield _prepared(_import())
        finally:
            for name in [name for name in sys.modules if _is_ours(name)]:
                del sys.modules[name]
            sys.modules.update(before)


def _is_ours(name: str) -> bool:
    return name == "robustbench" or name.startswith("robustbench.")


def _import() -> ModuleType:
    try:
        return importlib.import_module("robustbench.utils")
    except ImportError as error:
        raise BadInput(
            f"robustbench is installed but cannot be imported ({str(error)[:200]}); its dependencies come with "
            "pip install -e '.[zoo]'."
        ) from error


@contextmanager
def _registry_restored() -> Iterator[None]:
    """Take back what RobustBench registers in timm."""
    try:
        from timm.models import _registry
    except ImportError as error:
        raise BadInput(f"rb: names need timm ({str(error)[:200]}); pip install -e '.[zoo]'.") from error
    tables = [
        value for name, value in vars(_registry).items() if isinstance(value, dict | set) and not name.startswith("__")
    ]
    before = [table.copy() for table in tables]
    try:
        yield
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)


class _SafeTorch:
    """The module torch, but `load` runs nothing that is in a file."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def load(self, path: str | Path, map_location: object = None) -> Any:
        return read_content(Path(path))


def _prepared(utils: Any) -> ModuleType:
    original = utils._safe_load_state_dict

    def load(model: nn.Module, name: str, state: dict[str, Any], dataset: object) -> nn.Module:
        filled: nn.Module = original(model, name, state, dataset)
        lacking = [key for key in filled.state_dict() if key not in state]
        lacking = [key for key in lacking if key.rpartition(".")[2] not in (*_CONSTANTS, "num_batches_tracked")]
        if lacking:
            raise RuntimeError(f"{len(lacking)} weights are missing, first {lacking[0]}")
        return filled

    # The module is private: nobody else sees these.
    utils.torch, utils._safe_load_state_dict = _SafeTorch(), load
    result: ModuleType = utils
    return result


def definitions(utils: Any) -> list[Definition]:
    """Return all Linf and L2 models of the zoo."""
    return [
        Definition(dataset.value, threat.value, name)
        for dataset, threats in utils.all_models.items()
        for threat, models in threats.items()
        if threat.value in ("Linf", "L2")
        for name in models
    ]


def find_definition(utils: Any, text: str, *, dataset: str | None, norm: str | None) -> Definition:
    """Return what [DATASET/[NORM/]]NAME means; `dataset` and `norm` decide between models of one name.

    Raises:
        BadInput: there is no such model, or several.
    """
    known = definitions(utils)
    *places, name = text.split("/")
    named = [one for one in known if one.name == name and {*places} <= {one.dataset, one.norm}]
    if not named:
        raise unknown("RobustBench model", text, {one.name for one in known})
    chosen = [one for one in named if dataset in (None, one.dataset) and norm in (None, one.norm)] or named
    if len(chosen) > 1:
        listed = ", ".join(str(one) for one in chosen)
        raise BadInput(f"rb:{text[:60]} is the name of {len(chosen)} models; say which one: {listed}.")
    return chosen[0]


def _entry(utils: Any, definition: Definition) -> dict[str, Any]:
    dataset, threat = utils.BenchmarkDataset(definition.dataset), utils.ThreatModel(definition.norm)
    entry: dict[str, Any] = utils.all_models[dataset][threat][definition.name]
    return entry


def _timm_name(utils: Any, definition: Definition) -> str | None:
    """Return the name under which RobustBench registered the model in timm, None for most."""
    name = f"{definition.name}_{definition.dataset}_{definition.norm}".lower().replace("-", "_")
    return name if utils.timm.is_model(name) else None


def num_classes(utils: Any, definition: Definition) -> int:
    """Return K."""
    return int(utils.DATASET_CLASSES[utils.BenchmarkDataset(definition.dataset)])


def preprocessing(utils: Any, definition: Definition) -> dict[str, Any]:
    """Return resize, crop and interpolation of ImageNet's files, as far as the model asks for them.

    Raises:
        BadInput: it asks for something else than resize, then crop.
    """
    if definition.dataset != "imagenet":
        return {}
    timm_name = _timm_name(utils, definition)
    if timm_name is not None:
        from fairbench.models.zoo_timm import preprocessing_of

        return preprocessing_of(utils.timm.models.get_pretrained_cfg(timm_name).to_dict())
    text = _entry(utils, definition).get("preprocessing")
    known: dict[str, dict[str, Any]] = {
        "Res256Crop224": {"resize": 256, "crop": 224},
        "BicubicRes256Crop224": {"resize": 256, "crop": 224, "interpolation": "bicubic"},
    }
    if text not in known:
        raise BadInput(
            f"{definition} wants its images prepared by {text!r}, but fairbench resizes the shorter side and then cuts "
            "the centre; give --resize and --crop to say how."
        )
    return known[text]


def files(utils: Any, definition: Definition) -> list[WeightsFile]:
    """Return the files that the model is loaded from."""
    place, source = Path(definition.dataset, definition.norm), _entry(utils, definition)["gdrive_id"]
    name, timm_name = f"{definition.name}.pt", _timm_name(utils, definition)
    if timm_name is not None:
        return [WeightsFile(place / name, str(utils.timm.models.get_pretrained_cfg(timm_name).url))]
    if source == "":
        return [WeightsFile(place / name, _R50_URL, "0676ba61")]
    drive = "https://drive.google.com/uc?id="
    if isinstance(source, list):
        return [WeightsFile(place / f"{name}_m{number}.pt", drive + part) for number, part in enumerate(source)]
    return [WeightsFile(place / name, f"{drive}{source}")]


class _WithoutCuda(TorchFunctionMode):
    """`.cuda()` does nothing where there is no CUDA: the model is moved later."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.cuda and not torch.cuda.is_available():
            return args[0]
        return func(*args, **(kwargs or {}))


def build(utils: Any, definition: Definition) -> nn.Module:
    """Return the network with random weights, in eval mode."""
    timm_name = _timm_name(utils, definition)
    with _WithoutCuda():
        if timm_name is not None:
            model = utils.timm.create_model(timm_name, num_classes=num_classes(utils, definition), pretrained=False)
        elif _entry(utils, definition)["gdrive_id"] == "":
            zoo: Any = sys.modules["robustbench.model_zoo.imagenet"]
            model = zoo.normalize_model(zoo.pt_models.resnet50(), zoo.mu, zoo.sigma)
        else:
            model = _entry(utils, definition)["model"]()
    network: nn.Module = model.eval()
    return network


def load(utils: Any, definition: Definition, folder: Path) -> nn.Module:
    """Return the network with the weights that lie in the models folder `folder`, in eval mode.

    Raises:
        BadInput: the files are damaged, hold objects, or are another network's.
    """
    timm_name, place = _timm_name(utils, definition), folder / definition.dataset / definition.norm
    try:
        if timm_name is not None:
            state = read_weights(place / f"{definition.name}.pt")
            model = utils.timm.create_model(
                timm_name,
                num_classes=num_classes(utils, definition),
                pretrained=True,
                pretrained_cfg_overlay={"state_dict": state},
            )
        elif _entry(utils, definition)["gdrive_id"] == "":
            model = build(utils, definition)
            model.get_submodule("model").load_state_dict(read_weights(place / f"{definition.name}.pt"))
        else:
            with _WithoutCuda():
                model = utils.load_model(
                    definition.name, model_dir=folder, dataset=definition.dataset, threat_model=definition.norm
                )
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"the weights in {str(place)[-120:]} do not fit {definition} ({type(error).__name__}: {reason}); get the "
            "file of that model."
        ) from error
    network: nn.Module = model.eval()
    return network
