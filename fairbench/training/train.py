"""Train a request to its checkpoint; the same request continues or finds what it made."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

from fairbench import distributed
from fairbench.errors import BadInput
from fairbench.evaluation.networks import exact_arithmetic
from fairbench.models.checkpoint import read_sidecar, save_checkpoint
from fairbench.progress import Progress, Silent
from fairbench.provenance import sha256_file, versions
from fairbench.runs import to_json
from fairbench.training.announce import announce
from fairbench.training.loop import Job, Training
from fairbench.training.request import Request, prepare
from fairbench.training.state import check_settings, read_state, write_state
from fairbench.training.totals import COUNTS
from fairbench.whole_file import usable_folder, writable_folder, write_whole


def train(
    request: Request,
    *,
    out: Path | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    save_every: float = 300.0,
) -> Path:
    """Train and return the path of the checkpoint, `<out>/<name>.pt`.

    Beside it lie `<name>.settings.json` (every resolved value, from the start), `<name>.json` (the sidecar, which has
    them too), `<name>.log.jsonl` and `<name>.state`, from which an interrupted training
    continues: on the CPU with the same number of threads, to the same tensors as an undisturbed one.

    Args:
        request: what to train.
        out: the folder; None: runs/<name>-<hash of the settings>.
        name: of the files; None: <data set>-<method>.
        progress: what people see.
        save_every: seconds between states within an epoch; one is written at the end of each epoch, too.

    Raises:
        BadInput: the request cannot be, the folder cannot be used or holds another training of this name, or training
            diverged.
        WriteFailed: the disk is full; the last state is intact.
    """
    progress = progress or Silent()
    name = _checked_name(name) if name is not None else _default_name(request)
    if out is not None:
        usable_folder(out)
    job = prepare(request, progress)
    settings = json.loads(to_json(job.settings))
    digest = hashlib.sha256(to_json(settings).encode()).hexdigest()[:8]
    # Only now: a request that is refused leaves nothing behind.
    folder = writable_folder(out if out is not None else Path("runs") / f"{name}-{digest}")
    checkpoint, state_path = folder / f"{name}.pt", folder / f"{name}.state"
    if _is_finished(checkpoint, state_path, settings):
        progress.say(f"{checkpoint} is finished already")
        return checkpoint
    again = (read_state(state_path) or {}).get("finished")
    distributed.barrier()  # every process has looked before one of them changes anything
    if again:
        progress.say(f"{checkpoint} was finished, but is missing or damaged: training it again")
        if distributed.is_main():
            state_path.unlink()
        distributed.barrier()
    every_value = folder / f"{name}.settings.json"
    if distributed.is_main():
        write_whole(every_value, to_json(settings))
    progress.say(f"training {name}: {_in_one_line(job)}; every value is in {every_value}")
    job = Job(**{**vars(job), "settings": settings})
    if request.recipe == "paper":
        announce(job, progress)
    training = Training(
        job, state_path=state_path, log_path=folder / f"{name}.log.jsonl", progress=progress, name=f"training {name}",
        save_every=save_every,
    )  # fmt: skip
    cuda = [job.device] if job.device.type == "cuda" else []
    with exact_arithmetic(None) as threads, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(request.seed + distributed.rank())
        training.run()
    if distributed.is_main():
        save_checkpoint(checkpoint, training.network, _sidecar(training, name, threads))
        write_state(state_path, {"settings": settings, "finished": sha256_file(checkpoint)})
    distributed.barrier()
    _say_how_it_ended(training, progress)
    return checkpoint


def _in_one_line(job: Job) -> str:
    """Return what is about to be trained in the words that a person looks for first."""
    settings = job.settings
    rules = "".join(f", {slot} {rule}" for slot, rule in settings["slots"].items())
    return (
        f"method {settings['method']}{rules} on {len(job.train):,} images of {settings['dataset']}, model "
        f"{settings['architecture']}, {job.recipe.epochs} epochs, {job.threat.norm} eps {job.threat.eps_text}"
    )


def _sidecar(training: Training, name: str, threads: int) -> dict[str, Any]:
    lines, job = training.log, training.job
    return {
        **job.settings,
        "class_names": list(job.train.class_names),
        "selection": training.selection.record(),
        "log": f"{name}.log.jsonl",
        "cost": {
            "seconds": round(sum(line["seconds"] for line in lines), 1),
            **{name: sum(line.get(name, 0) for line in lines) for name in (*COUNTS, "skipped_steps")},
        },
        "made_with": {
            "versions": versions(),
            "device": job.device.type,
            "threads": threads,
            "processes": distributed.world_size(),
        },
    }


def _is_finished(checkpoint: Path, state_path: Path, settings: dict[str, Any]) -> bool:
    """Return whether the checkpoint of these settings is there, undamaged.

    Raises:
        BadInput: the place holds another setting's training or checkpoint.
    """
    state = read_state(state_path)
    if state is not None:
        check_settings(state_path, state["settings"], settings)
        return bool(checkpoint.exists() and state.get("finished") == sha256_file(checkpoint))
    if not checkpoint.exists():
        return False
    sidecar = read_sidecar(checkpoint) or {}
    check_settings(checkpoint, {key: sidecar.get(key) for key in settings}, settings)
    return sidecar.get("sha256") == sha256_file(checkpoint)


def _say_how_it_ended(training: Training, progress: Progress) -> None:
    selection, recipe = training.selection, training.job.recipe
    if recipe.average is not None and selection.deployed == "live":
        progress.say("warning: the average never came into being, so the live weights are deployed")
    skipped = sum(line["skipped_steps"] for line in training.log)
    if skipped:
        progress.say(f"warning: {skipped} steps were skipped, because a process had fewer than 2 rows")
    progress.say(
        f"selected by {selection.rule}: epoch {selection.epoch} of {recipe.epochs}, {selection.deployed} weights"
    )


def _default_name(request: Request) -> str:
    data = re.sub(r"[^A-Za-z0-9.-]+", "-", request.dataset.rstrip("/").replace("\\", "/").rpartition("/")[2] or "data")
    rules = "".join(f"-{slot}-{rule}" for slot, rule in sorted(request.slots.items()))
    return f"{data.strip('-.').lower() or 'data'}-{request.method}{rules}"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name):
        raise BadInput(
            f"--name must be a file name of letters, digits, '.', '_', '+' and '-', no ending, but is {name[:60]!r}."
        )
    return name
