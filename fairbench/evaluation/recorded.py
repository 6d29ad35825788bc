"""What a run's record says, built again: its data set, its checkpoint, its plan; refused where it is not the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fairbench.data.dataset import Dataset
from fairbench.data.image_folder import Preprocess
from fairbench.data.load import holds_image_files, load_dataset
from fairbench.errors import BadInput
from fairbench.evaluation.plan import Plan, make_plan
from fairbench.metrics.comparable import resolved_difference
from fairbench.models.file_kind import check_file
from fairbench.models.load import LoadedModel, load_checkpoint
from fairbench.models.registry import is_model_name
from fairbench.provenance import sha256_file
from fairbench.runs import PROTOCOL_VERSION

_SUFFIXES = (".pt", ".pth", ".safetensors")


def recorded(record: Mapping[str, Any], *keys: str, kind: type | tuple[type, ...]) -> Any:
    """Return record[keys[0]][keys[1]]..., which a person may have edited.

    Raises:
        BadInput: it is missing or of another kind.
    """
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise BadInput(
            f"run.json must give {'.'.join(keys)} as {wanted}, but gives {str(value)[:60]!r}; restore the file that "
            "'fairbench eval' wrote."
        )
    return value


def recorded_dataset(
    record: Mapping[str, Any],
    *,
    name: str | None = None,
    data_dir: str | Path | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> Dataset:
    """Return the samples of a run, proven to be the same by their fingerprints.

    Args:
        record: run.json.
        name: where the data set lies now; None: as recorded.
        data_dir: where files lie, see `load_dataset`.
        resize: of image folders, where it is not to be as in the record.
        crop: likewise.

    Raises:
        BadInput: no such data set, another one, or samples that were chosen in a way that the record cannot repeat.
    """
    where = name or recorded(record, "dataset", "name", kind=str)
    split, selection = (recorded(record, "dataset", key, kind=str) for key in ("split", "selection"))
    if ":" not in where and where == "arrays":
        raise BadInput(
            "the run's images were arrays in a Python program, which run.json does not hold; give the same images as a "
            "file with --dataset npz:FILE, or use fairbench.evaluation.verify from Python."
        )
    prepared = _prepared(record, where)
    prepared.update({key: value for key, value in (("resize", resize), ("crop", crop)) if value is not None})
    samples = load_dataset(where, split, data_dir=data_dir, **prepared)
    first = re.fullmatch(r"first (\d{1,9}) of each class", selection)
    if first:
        samples = samples.first_per_class(int(first[1]))
    refuse_other_dataset(samples, record)
    return samples


def _prepared(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return how the run's image files were prepared: resize, crop, interpolation; nothing for arrays."""
    found = recorded(record, "dataset", kind=dict).get("preprocess")
    if found is None or not holds_image_files(where):
        return {}
    return asdict(Preprocess.of_record(found, what="run.json"))


def refuse_other_dataset(samples: Dataset, record: Mapping[str, Any]) -> None:
    """Compare the classes, the choice of samples and their content with those of a run.

    Raises:
        BadInput: they differ.
    """
    for what, key, mine in (
        ("number of classes", "num_classes", samples.num_classes),
        ("number of samples", "count", len(samples)),
        ("choice of samples", "index_sha256", samples.index_sha256),
        ("content", "sha256", samples.sha256),
    ):
        theirs = recorded(record, "dataset", key, kind=(int, str))
        if mine != theirs:
            raise BadInput(
                f"the data set {samples.name[:80]!r} here is not the run's: its {what} is {str(mine)[:16]}, the run's "
                f"{str(theirs)[:16]}; give the same files and options with --dataset, --data-dir, --resize, --crop."
            )


def recorded_checkpoint(record: Mapping[str, Any], given: Path | None) -> Path:
    """Return the checkpoint of a run, proven to be the same file by its hash.

    Without `given` the recorded name is looked for in ./checkpoints and here: run.json holds no path.

    Raises:
        BadInput: it is not found, or is another file.
    """
    name, sha256 = (recorded(record, "model", key, kind=str) for key in ("name", "sha256"))
    if given is not None:
        check_file(given)
        found = sha256_file(given)
        if found != sha256:
            raise BadInput(
                f"the checkpoint {str(given)[:150]!r} is not the run's: its sha256 is {found[:12]}..., the run's "
                f"{sha256[:12]}... ({name[:60]}); give the file that was evaluated with --checkpoint."
            )
        return given
    # Only a name: a record must not reach into other folders.
    for folder in (Path("checkpoints"), Path()):
        for suffix in _SUFFIXES:
            path = folder / (Path(name).name + suffix)
            if path.is_file() and sha256_file(path) == sha256:
                return path
    raise BadInput(
        f"run.json names the checkpoint {name[:60]!r} with sha256 {sha256[:12]}..., and no such file lies in "
        "./checkpoints or here; say where it is with --checkpoint PATH."
    )


def recorded_model(
    record: Mapping[str, Any],
    checkpoint: Path,
    dataset: Dataset,
    *,
    model: str | None,
    trust_program: bool,
    device: torch.device,
) -> LoadedModel:
    """Load a run's checkpoint with the run's architecture and normalisation.

    `model` says the architecture where the record holds only the name of somebody's own code.

    Raises:
        BadInput: as `load_checkpoint`, or another architecture or other code than the run's.
    """
    architecture = record["model"].get("architecture")
    known = architecture if isinstance(architecture, str) and is_model_name(architecture) else None
    normalize = recorded(record, "model", "normalize", kind=str)
    loaded = load_checkpoint(
        checkpoint, model=model or known, normalize=normalize, dataset=dataset, trust_program=trust_program,
        device=device,
    )  # fmt: skip
    if isinstance(architecture, str) and loaded.architecture != architecture:
        raise BadInput(f"the run's network is {architecture[:80]}, but --model gave {loaded.architecture[:80]}.")
    if record["model"].get("source_sha256", loaded.source_sha256) != loaded.source_sha256:
        raise BadInput(f"the code of {loaded.architecture[:80]} is not the run's: it was edited since.")
    return loaded


def recorded_plan(record: Mapping[str, Any], dataset: Dataset, *, device: torch.device, threads: int | None) -> Plan:
    """Return the plan of a run: the same attacks, threat, seed, precision, engine and block size.

    `threads` None: the run's. Device and threads may differ, and only round floats differently.

    Raises:
        BadInput: this version of fairbench would not do the same, or `dataset` is another one.
    """
    protocol = record.get("protocol")
    if protocol != PROTOCOL_VERSION:
        raise BadInput(
            f"the run was made under protocol version {protocol}, but this fairbench has {PROTOCOL_VERSION}: the same "
            "command gives other verdicts; install the version that wrote the run (run.json: versions)."
        )
    refuse_other_dataset(dataset, record)
    plan = make_plan(
        dataset,
        list(recorded(record, "attacks", kind=dict)),
        norm=recorded(record, "threat", "norm", kind=str),
        eps=recorded(record, "threat", "eps_text", kind=str),
        seed=recorded(record, "seeds", "evaluation", kind=int),
        batch_size=recorded(record, "block_size", kind=int),
        precision=recorded(record, "precision", kind=str),
        engine=recorded(record, "engine", kind=str),
        device=device,
        threads=threads or recorded(record, "threads", kind=int),
        model_record=recorded(record, "model", kind=dict),
        allow_random="random model" in recorded(record, "settings", kind=dict),
    )
    for name in plan.attacks():
        difference = resolved_difference({"attacks": plan.attacks()}, record, name)
        if difference is not None:
            raise BadInput(
                f"the attack {name[:60]!r} stands for other keywords in this fairbench than in the run ({difference}); "
                "install the version that wrote the run (run.json: versions)."
            )
    # What decides the numbers and was not asked one by one above; the rest may differ.
    free = {"batch size", "threads", "device", "adversarial examples", "attacks"}
    before = recorded(record, "settings", kind=dict)
    for key, value in plan.settings().items():
        if key not in free and before.get(key) != value:
            raise BadInput(
                f"this fairbench cannot repeat the run: {key} = {str(before.get(key))[:100]!r} there, but "
                f"{str(value)[:100]!r} here; install the version that wrote the run (run.json: versions)."
            )
    return plan
