"""From the words of a request to a training job: every name looked up, every file opened, every value resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairbench.data import AUGMENTATIONS, DATASETS, Dataset, default_threat, load_dataset
from fairbench.data.dataset import Split
from fairbench.data.dropped import control_classes, drop_classes
from fairbench.data.image_folder import ImageFolder
from fairbench.errors import BadInput, unknown
from fairbench.evaluation.networks import device_of
from fairbench.evaluation.table import attack_table
from fairbench.methods import find_class_rule, find_method
from fairbench.methods.base import Method
from fairbench.methods.class_rule import Slot
from fairbench.methods.teacher import Teacher
from fairbench.models import build_model
from fairbench.models.factory import build_from_factory, is_factory
from fairbench.models.load import LoadedModel, load_checkpoint
from fairbench.models.normalize import normalized
from fairbench.outcomes import NATURAL
from fairbench.progress import Progress, Silent
from fairbench.threat import Threat
from fairbench.training.forward import Forward
from fairbench.training.loop import Job
from fairbench.training.recipe import Recipe, check_sync_batch_norm
from fairbench.training.recipe_names import find_recipe, words_of
from fairbench.training.schedule import too_short
from fairbench.training.teacher_labels import check_cache
from fairbench.training.warm_start import without_warm_start

#: Fixed, so that every method, student and teacher leaves the same images to validation.
VALIDATION_SEED = 0


@dataclass(frozen=True)
class Request:
    """What a person asks for; None is the default of the data set.

    Attributes:
        dataset: a name that `load_dataset` knows.
        method: a name in METHODS.
        model: an architecture.
        normalize: in front of it.
        teachers: checkpoint by role; the role "" is the method's only one.
        hyper: hyper-parameters of the method and its rules, as text or value.
        slots: class rule by slot.
        recipe: a name in RECIPES.
        changes: values of the recipe to replace; None leaves one alone.
        init: a checkpoint to start from.
        eps: the radius.
        samples_per_class: train on the first so many images of each class.
        drop_classes: names of classes that are neither learned nor validated.
        drop_control: names of classes instead of which as many others are dropped, drawn at random.
        control_draw: the number of that draw.
        seed: of the initial weights, the order, augmentation and attacks.
        device: cpu, cuda or cuda:N.
        data_dir: where data sets lie.
        resize: shorter side of image files in pixels.
        crop: side of the square cut from their centre.
        interpolation: how they are resized.
        workers: threads that read them; not part of what is trained.
    """

    dataset: str
    method: str
    model: str | None = None
    normalize: str | None = None
    teachers: Mapping[str, str] = field(default_factory=dict)
    hyper: Mapping[str, object] = field(default_factory=dict)
    slots: Mapping[Slot, str] = field(default_factory=dict)
    recipe: str = "default"
    changes: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    eps: str | None = None
    samples_per_class: int | None = None
    drop_classes: tuple[str, ...] = ()
    drop_control: tuple[str, ...] = ()
    control_draw: int = 0
    seed: int = 0
    device: str = "cpu"
    data_dir: str | None = None
    resize: int | None = None
    crop: int | None = None
    interpolation: str | None = None
    workers: int | None = None


def prepare(request: Request, progress: Progress | None = None) -> Job:
    """Look up, open and check everything that a request names.

    Raises:
        BadInput: one sentence about the first thing that cannot be.
    """
    say = (progress or Silent()).say
    cls = find_method(request.method)
    slots = {slot: find_class_rule(rule) for slot, rule in request.slots.items()}
    asked = words_of(request.hyper, request.slots, request.model, request.changes)
    recipe = find_recipe(request.recipe, request.dataset, request.method, asked).change(**request.changes)
    if recipe.augment not in AUGMENTATIONS:
        raise unknown("augmentation", recipe.augment, AUGMENTATIONS)
    request = _completed(request, recipe)
    epochs_before = None
    if recipe.name == "common" and request.init is not None:
        recipe, epochs_before = without_warm_start(
            recipe, request.init, request.dataset, request.samples_per_class, say
        )
    device = device_of(request.device)
    if recipe.sync_batch_norm:
        check_sync_batch_norm(str(device))
    paths = _teacher_paths(request, cls)
    threat = _threat(request)
    train, validation = _images(request, "train"), _images(request, "validation")
    preprocess = asdict(train.preprocess) if isinstance(train, ImageFolder) else None
    kept: dict[str, Any] = {}
    gone = request.drop_classes
    if request.drop_control:
        if gone:
            raise BadInput("--drop-control draws classes of its own; leave --drop-classes out.")
        gone = control_classes(train, request.drop_control, request.control_draw)
        kept = {"control_of": list(request.drop_control), "control_draw": request.control_draw}
        say(f"dropping {' and '.join(gone)}, drawn at random, as a control of {' and '.join(request.drop_control)}")
    if gone:
        validation = drop_classes(validation, gone)
        train = fewer = drop_classes(train, gone)
        kept = {"kept_classes": list(fewer.kept), "dropped_classes": list(gone), **kept}
    if request.samples_per_class is not None:
        train = train.first_per_class(request.samples_per_class)
    network, origin = _network(request, train, device)
    loaded = {
        role: _teacher(path, role, train, validation, threat, recipe, device, say) for role, path in paths.items()
    }
    teachers = {
        role: Teacher(Forward(teacher.model, precision=recipe.precision, channels_last=recipe.channels_last))
        for role, teacher in loaded.items()
    }
    hyper: dict[str, Any] = {**recipe.hyper, **request.hyper}
    method = cls(train.num_classes, eps=threat.eps, teachers=teachers, slots=slots, **hyper)
    check_cache(recipe, method)
    # After everything that may be refused: no warning stands beside an error.
    for sentence in too_short(recipe):
        say(f"warning: {sentence}")
    settings = {
        "dataset": request.dataset,
        "norm": threat.norm,
        "eps_text": threat.eps_text,
        **origin,
        "num_classes": train.num_classes,
        "shape": list(train.shape),
        "method": request.method,
        "slots": dict(method.filled_slots()),
        "hyper": method.hyper(),
        "recipe": recipe.record(),
        "seed": request.seed,
        "samples_per_class": request.samples_per_class,
        "validation_seed": VALIDATION_SEED,
        "training_images": train.index_sha256,
        "teachers": {role: teacher.sha256 for role, teacher in loaded.items()},
        "epochs_before": epochs_before,
        **kept,
    }
    if preprocess is not None:
        settings["preprocess"] = preprocess
    return Job(network, method, recipe, train, validation, threat, request.seed, device, settings)


def _images(request: Request, split: Split) -> Dataset:
    return load_dataset(
        request.dataset, split, data_dir=request.data_dir, validation_seed=VALIDATION_SEED, resize=request.resize,
        crop=request.crop, interpolation=request.interpolation, workers=request.workers,
    )  # fmt: skip


def _completed(request: Request, recipe: Recipe) -> Request:
    """Return the request with what the recipe says of network and radius, where the person says nothing.

    Raises:
        BadInput: the recipe continues a trained network, and none is given.
    """
    if recipe.fine_tune and request.init is None:
        raise BadInput(
            f"the recipe of method {request.method!r} ({recipe.source}) trains {recipe.epochs} epochs from a robust "
            "network, but none was given; give --init CHECKPOINT."
        )
    eps = request.eps if request.eps is not None else recipe.eps
    if request.init is not None:
        return replace(request, eps=eps)
    return replace(
        request, eps=eps, model=request.model or recipe.model, normalize=request.normalize or recipe.normalize
    )


def _teacher_paths(request: Request, cls: type[Method]) -> dict[str, str]:
    """Return the checkpoint of each role, before anything large is loaded."""
    paths = dict(request.teachers)
    if len(paths) == len(cls.roles) == 1 and "" in paths:
        paths = {cls.roles[0]: paths[""]}
    cls.check_roles(paths)
    return paths


def _threat(request: Request) -> Threat:
    eps = request.eps if request.eps is not None else default_threat(request.dataset)
    if eps is None and ":" not in request.dataset and request.dataset not in DATASETS:
        raise unknown("data set", request.dataset, [*DATASETS, "npz:FOLDER", "folder:PATH"])
    if eps is None:
        raise BadInput(f"data set {request.dataset[:100]!r} has no default radius; give --eps, such as --eps 8/255.")
    return Threat.parse("Linf", eps)


def _network(request: Request, train: Dataset, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network to train, and the settings architecture, normalize, init (the sha256 of what it starts from).

    Where a person's own code builds it, its fingerprint is among the settings: a training does not go on with another.
    """

    def told(architecture: str, normalize: str, init: str | None, source: str | None = None) -> dict[str, Any]:
        found = {"architecture": architecture, "normalize": normalize, "init": init}
        return found if source is None else {**found, "source_sha256": source}

    if request.init is not None:
        start = load_checkpoint(
            request.init, model=request.model, dataset=train, normalize=request.normalize, device=device
        )
        for p in start.model.parameters():
            p.requires_grad_(True)
        return start.model, told(start.architecture, start.normalize, start.sha256, start.source_sha256)
    spec = DATASETS.get(request.dataset)
    name = request.model or (spec.default_model if spec is not None else None)
    if name is None:
        raise BadInput(f"data set {request.dataset[:100]!r} has no default architecture; give --model.")
    normalize = request.normalize or "none"
    # Only here is torch's generator drawn from: equal seeds give every method the same initial weights.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        if is_factory(name):
            built, source = build_from_factory(name)
            place, _, attribute = name.rpartition(":")
            architecture = f"{Path(place).name}:{attribute}"
            return normalized(built, normalize, train.shape[0]), told(architecture, normalize, None, source)
        network = build_model(name, num_classes=train.num_classes, shape=train.shape, normalize=normalize)
        return network, told(name, normalize, None)


def _teacher(
    path: str,
    role: str,
    train: Dataset,
    validation: Dataset,
    threat: Threat,
    recipe: Recipe,
    device: torch.device,
    say: Any,
) -> LoadedModel:
    """Load a teacher and check that it belongs to this data."""
    teacher = load_checkpoint(path, dataset=train, device=device)
    known = teacher.sidecar or {}
    if known.get("class_names") and tuple(known["class_names"]) != train.class_names:
        raise BadInput(
            f"the {role} teacher {teacher.name} was trained on the classes {', '.join(known['class_names'])[:80]}, but "
            f"{train.name} has {', '.join(train.class_names)[:80]}; give one of the same classes in the same order."
        )
    seed = known.get("validation_seed")
    unsaid = seed is None or known.get("dataset") != train.name
    if not unsaid and seed != VALIDATION_SEED:
        raise BadInput(
            f"the {role} teacher {teacher.name} was trained on another split (validation seed {seed}, not "
            f"{VALIDATION_SEED}), so it has seen the validation images; train a teacher with this fairbench."
        )
    table = attack_table(
        teacher.model, validation, [], threat=threat, seed=0, batch_size=recipe.batch_size, device=device
    )
    accuracy, chance = float(table.robust(NATURAL).mean()), 1 / train.num_classes
    if accuracy < 2 * chance and train.num_classes > 2:
        raise BadInput(
            f"the {role} teacher {teacher.name} is right on {accuracy:.1%} of the validation images, where chance is "
            f"{chance:.1%}; its normalisation, data set or class order must be another."
        )
    if unsaid:
        say(
            f"warning: the {role} teacher {teacher.name} does not say what it was trained on, so it may have seen the "
            "validation images"
        )
    return teacher
