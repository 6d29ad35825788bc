"""Evaluate a model: every attack on every sample, verified, per class, resumable."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fairbench import distributed, provenance
from fairbench.data.dataset import ArrayDataset, Dataset
from fairbench.data.dropped import WithoutClasses, restored
from fairbench.data.load import load_dataset
from fairbench.data.registry import Normalization
from fairbench.errors import BadInput
from fairbench.evaluation.block_size import default_block_size
from fairbench.evaluation.blocks import Unit, cut, run_units
from fairbench.evaluation.classifier import classifier_record, with_gaps
from fairbench.evaluation.examples import ExampleWriter
from fairbench.evaluation.masking.cheap import cheap_flags
from fairbench.evaluation.masking.rows import row_flags
from fairbench.evaluation.natural_accuracy import check_natural
from fairbench.evaluation.networks import Networks, device_of, exact_arithmetic, frozen, networks
from fairbench.evaluation.plan import Plan, make_plan, model_sha256
from fairbench.evaluation.store import FolderStore, MemoryStore, finished_run
from fairbench.evaluation.trust import IMAGES_AT_ONCE, Trust, check_mode, first_images, preflight
from fairbench.evaluation.units import attack_units, natural_unit, with_final_verdicts
from fairbench.metrics.correlates import CLASSIFIER_FILE
from fairbench.metrics.summary import metrics_bytes
from fairbench.models.normalize import candidates
from fairbench.outcomes import Outcomes
from fairbench.progress import Progress, Silent
from fairbench.runs import PROTOCOL_VERSION, SCHEMA_VERSION, Run, write_json, write_run
from fairbench.whole_file import usable_folder, write_whole

DEFAULT_ATTACKS = ("fgsm", "pgd20", "cw30", "aa")


def evaluate(
    model: nn.Module,
    dataset: Dataset | str | Tensor | npt.NDArray[Any],
    attacks: Sequence[str] | str = DEFAULT_ATTACKS,
    *,
    norm: str = "Linf",
    eps: str | float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    precision: str = "float32",
    engine: str = "native",
    device: str | torch.device = "cpu",
    threads: int | None = None,
    accept: Collection[str] = (),
    out: str | Path | None = None,
    progress: Progress | None = None,
    name: str = "model",
    model_record: Mapping[str, Any] | None = None,
    y: Tensor | npt.NDArray[Any] | Sequence[int] | None = None,
    save_adversarial: bool = False,
    allow_random: bool = False,
) -> Run:
    """Attack `model` on every sample of `dataset` and return the run.

    The model is moved to `device` and given back as it was in every other way.

    Args:
        model: (B, C, H, W) pixels in [0, 1] in, (B, K) logits out, in eval mode.
        dataset: a Dataset, a registry name (its test split), or an array of images with `y`.
        attacks: attack strings, as a sequence or separated by commas.
        norm: "Linf", "L2" or "L1" (AutoAttack only).
        eps: radius in pixel units, a number or text such as "8/255"; None: a preset's, else the data set's.
        seed: of all noise.
        batch_size: samples per block; None: fixed by the model and the data set.
        precision: "float32"; "bf16" attacks a bfloat16 copy and decides in float32; "float64" computes in float64.
        engine: of AutoAttack: "native", or "reference" (the package pyautoattack).
        device: "cpu", "cuda", "cuda:1".
        threads: of the CPU; None: what PyTorch uses, or what the run in `out` was begun with.
        accept: checks to override, see `fairbench.evaluation.trust.CHECKS`.
        out: the run folder; work that was begun there is continued, if the model has the same class, parameters and
            buffers: edited code or other Python attributes are not noticed here. None: nothing is written.
        progress: what to report to.
        name: the model's name in the record.
        model_record: {name, sha256, normalize, ...} where the caller knows; given, normalisation is not checked.
        y: labels, where `dataset` is an array.
        save_adversarial: keep the adversarial examples in `out`, which must be given (see `evaluation.examples`).
        allow_random: evaluate a model with noise of its own, see `evaluation.random_model`.

    Raises:
        BadInput: an argument is wrong, or `out` holds another run.
        Refused: a check of `trust` says that the numbers would be wrong.
        WriteFailed: the disk is full; finished blocks are kept.
    """
    place = device_of(device)
    model.to(place)
    data = _as_dataset(dataset, y, model, place)
    known = candidates(data.name, data.shape[0]) if model_record is None else {}
    record = model_record or {"name": name, "sha256": model_sha256(model), "normalize": "none"}
    plan = make_plan(
        data, attacks, norm=norm, eps=eps, seed=seed, batch_size=batch_size, precision=precision, engine=engine,
        device=place, threads=threads, model_record=record, save_adversarial=save_adversarial,
        allow_random=allow_random,
    )  # fmt: skip
    trust = Trust(accept, allow_random=allow_random)
    return run_plan(model, plan, trust, out=out, progress=progress or Silent(), normalizations=known)


def run_plan(
    model: nn.Module,
    plan: Plan,
    trust: Trust,
    *,
    out: str | Path | None,
    progress: Progress,
    normalizations: Mapping[str, Normalization],
    whole_split: Dataset | None = None,
) -> Run:
    """Carry out a plan; natural accuracy is checked on `whole_split` (None: the plan's samples).

    `normalizations` are those that the model may be lacking, see `natural_accuracy`.

    Raises:
        BadInput: `out` holds another run, cannot be written, or is missing where examples are to be kept.
        Refused: a check of `trust`.
        WriteFailed: the disk is full.
    """
    if plan.save_adversarial and out is None:
        raise BadInput("adversarial examples are kept in the run folder, but none was given; give one with out=.")
    begun = time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    folder = usable_folder(Path(out)) if out is not None else None
    if folder is not None:
        done = finished_run(folder, plan.settings())
        if done is not None:
            progress.say(f"{folder} is finished; nothing is left to do")
            return done
    model.to(plan.device)
    with frozen(model), exact_arithmetic(plan.threads):
        nets, size = checked_networks(model, plan, trust, normalizations, whole_split)
        threads = torch.get_num_threads()
        store: FolderStore | MemoryStore = MemoryStore(size)
        if plan.save_adversarial and isinstance(plan.dataset, WithoutClasses):
            raise BadInput(
                "examples of a network without some of the classes cannot be kept, because their labels have other "
                "numbers than the table's; leave --save-adversarial out."
            )
        examples = ExampleWriter(folder) if plan.save_adversarial and folder is not None else None
        if folder is not None:
            store = FolderStore(folder, plan.settings(), block_size=size, threads=threads, examples=examples)
            threads = store.threads if plan.threads is None else threads
    with frozen(model), frozen(nets.judge), exact_arithmetic(threads):
        units = attack_units(
            plan.configs, nets, plan.threat, num_classes=plan.dataset.num_classes, seed=plan.seed, engine=plan.engine,
            example=first_images(plan.dataset, 2, plan.device)[0], keep=None if examples is None else examples.keep,
        )  # fmt: skip
        outcomes = _attack(nets, units, plan, trust, store, progress)
    data, names = plan.dataset, plan.dataset.class_names
    # A random model draws from the global generators only behind a key.
    classifier = classifier_record(nets.judge if nets.random else model, first_images(data, 1, plan.device)[0])
    if isinstance(data, WithoutClasses):
        outcomes, names = restored(outcomes, data.kept), data.original_names
        classifier = with_gaps(classifier, data.kept, len(names))
    seconds = store.add_seconds() if isinstance(store, FolderStore) else time.monotonic() - begun
    finished = _record(plan, trust, started=started, seconds=seconds, threads=threads, block_size=store.block_size)
    if folder is None:
        return Run(str(plan.model_record["name"]), finished, outcomes)
    if distributed.is_main():
        if examples is not None:
            blocks = len(cut(plan.dataset, store.block_size))
            finished["examples"] = examples.finish([unit.name for unit in units], blocks, store.block_size)
        write_whole(folder / "metrics.json", metrics_bytes(outcomes, names))
        write_json(folder / CLASSIFIER_FILE, classifier)
        write_run(folder, finished, outcomes)
        assert isinstance(store, FolderStore)
        store.remove()
    distributed.barrier()
    return Run(folder.resolve().name, finished, outcomes, folder)


def checked_networks(
    model: nn.Module,
    plan: Plan,
    trust: Trust,
    normalizations: Mapping[str, Normalization],
    whole_split: Dataset | None,
) -> tuple[Networks, int]:
    """Return a plan's networks and block size after every check that needs no attack; arguments as in `run_plan`.

    Raises:
        Refused: a check of `trust`.
        BadInput: the model cannot take the images.
    """
    nets = networks(model, plan.precision, plan.device, random=plan.allow_random, seed=plan.seed)
    preflight(nets.judge, plan.dataset, trust, plan.device)
    check_natural(nets.judge, whole_split or plan.dataset, normalizations, trust, plan.device)
    example = first_images(plan.dataset, 1, plan.device)[0]
    size = plan.batch_size or default_block_size(nets.judge if nets.random else model, example)
    if not nets.random:
        # As few images per forward as the checks above: what does not fit into memory is found out in the blocks.
        trust.flags += cheap_flags(
            model, plan.dataset, plan.threat, batch_size=min(size, IMAGES_AT_ONCE), seed=plan.seed, device=plan.device
        )
    return nets, size


def _attack(
    nets: Networks,
    units: Sequence[Unit],
    plan: Plan,
    trust: Trust,
    store: FolderStore | MemoryStore,
    progress: Progress,
) -> Outcomes:
    natural = natural_unit(nets, plan.threat)
    tables = run_units([natural, *units], dataset=plan.dataset, store=store, device=plan.device, progress=progress)
    check_mode(nets.judge, trust)
    outcomes = with_final_verdicts(plan.configs, tables)
    trust.flags += row_flags(outcomes, plan.configs, plan.threat, units=[unit.name for unit in (natural, *units)])
    return outcomes


def _record(plan: Plan, trust: Trust, *, started: str, seconds: float, threads: int, block_size: int) -> dict[str, Any]:
    hardware = provenance.hardware()
    if plan.device.type == "cuda":
        hardware["device"] = torch.cuda.get_device_name(plan.device)
    return {
        "schema": SCHEMA_VERSION,
        "protocol": PROTOCOL_VERSION,
        "command": provenance.command_line(),
        "started": started,
        "seconds": round(seconds, 1),
        "processes": distributed.world_size(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "hardware": hardware,
        "device": str(plan.device),
        "threads": threads,
        "block_size": block_size,
        "precision": plan.precision,
        "engine": plan.engine,
        "seeds": {"evaluation": plan.seed},
        "dataset": plan.dataset.describe(),
        "model": dict(plan.model_record),
        "threat": {"norm": plan.threat.norm, "eps": plan.threat.eps, "eps_text": plan.threat.eps_text},
        "attacks": plan.attacks(),
        "accepted": list(trust.accept),
        "flags": trust.flags,
        "settings": plan.settings(),
    }


def _as_dataset(
    dataset: Dataset | str | Tensor | npt.NDArray[Any],
    y: Tensor | npt.NDArray[Any] | Sequence[int] | None,
    model: nn.Module,
    device: torch.device,
) -> Dataset:
    if isinstance(dataset, Dataset | str):
        if y is not None:
            raise BadInput(
                "labels y were given beside a data set, which has its own; give them with an array of images."
            )
        return dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    if y is None:
        raise BadInput("an array of images needs its labels: evaluate(model, x, y=y).")
    data = ArrayDataset(dataset, y)
    # The array does not say how many classes there are; the model does.
    with torch.no_grad():
        logits = model(first_images(data, 1, device)[0])
    if isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] > data.num_classes:
        names = [str(label) for label in range(logits.shape[1])]
        return ArrayDataset(dataset, np.asarray(data.y), class_names=names)
    return data
