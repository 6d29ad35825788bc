"""What RobustBench would publish, and what it would not: one judgement for whoever exports, imports or ranks.

A RobustBench figure is the accuracy under AutoAttack's standard version, on RobustBench's whole test set, at its
radius. On data sets that RobustBench does not have, the whole test split and the radius of the run take their place.

Sources: `robustbench.data` and `model_info` of RobustBench's repository, and README.md there (release 1.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fairbench.attacks.autoattack import resolved_parts
from fairbench.outcomes import NATURAL
from fairbench.reporting.table_formats import plain
from fairbench.reporting.view import RunView
from fairbench.threat import Norm, parse_number

#: The images of `helper_files/imagenet_test_image_ids.txt`, with which RobustBench evaluates; 3 classes have none.
IMAGENET_LIST = 5_000


@dataclass(frozen=True)
class Board:
    """RobustBench's terms for a data set.

    Attributes:
        images: the numbers of test images that count; ImageNet's are RobustBench's list of 5,000, or the whole
            validation set that it is drawn from.
        num_classes: K.
        eps: the radius as text for each norm that it has.
    """

    images: tuple[int, ...]
    num_classes: int
    eps: Mapping[str, str]


BOARDS: dict[str, Board] = {
    "cifar10": Board((10_000,), 10, {"Linf": "8/255", "L2": "0.5"}),
    "cifar100": Board((10_000,), 100, {"Linf": "8/255"}),
    "imagenet": Board((IMAGENET_LIST, 50_000), 1000, {"Linf": "4/255"}),
}


@dataclass(frozen=True)
class Claim:
    """What decides whether a number is a RobustBench figure.

    Attributes:
        dataset: its name without a path, see `dataset_name`.
        split: "test" or another.
        selection: "all", or how samples were chosen.
        norm: of the threat.
        eps: radius for pixels in [0, 1].
        num_classes: K.
        class_count: (K,) natural images of each class.
        attacks: by name, every keyword resolved, as in run.json.
        counts: by name, how many images each attack saw.
        raised: names of raised flags.
    """

    dataset: str
    split: str
    selection: str
    norm: str
    eps: float
    num_classes: int
    class_count: tuple[int, ...]
    attacks: Mapping[str, Any]
    counts: Mapping[str, int]
    raised: tuple[str, ...]

    @classmethod
    def of_run(cls, view: RunView) -> Claim:
        """Return what a run claims; counts are those of its table and not of its record."""
        counts = {name: view.count(name) for name in view.attacks}
        resolved = {name: view.record.get("attacks", {}).get(name) for name in view.attacks}
        return cls._of(
            view.record["dataset"],
            view.record["threat"],
            resolved,
            view.of(NATURAL)["class_count"],
            counts,
            view.raised,
        )

    @classmethod
    def of_entry(cls, classwise: Mapping[str, Any], *, unreliable: bool) -> Claim:
        """Return what the key `classwise` of an exported entry claims.

        Raises:
            KeyError, TypeError, ValueError: it is not what export writes.
        """
        attacks = classwise["attacks"]
        counts = {name: sum(int(n) for n in one["class_count"]) for name, one in attacks.items()}
        resolved = {name: one.get("resolved") for name, one in attacks.items()}
        # An entry's flags are names only; whether they are raised is what `unreliable` says.
        flags = tuple(str(name) for name in classwise.get("flags") or ()) if unreliable else ()
        return cls._of(
            classwise["dataset"], classwise["threat"], resolved, attacks[NATURAL]["class_count"], counts,
            flags or (("unreliable",) if unreliable else ()),
        )  # fmt: skip

    @classmethod
    def _of(
        cls,
        dataset: Mapping[str, Any],
        threat: Mapping[str, Any],
        attacks: Mapping[str, Any],
        class_count: Sequence[int],
        counts: Mapping[str, int],
        raised: tuple[str, ...],
    ) -> Claim:
        return cls(
            dataset_name(str(dataset["name"])), str(dataset["split"]), str(dataset.get("selection", "all")),
            str(threat["norm"]), float(threat["eps"]), int(dataset["num_classes"]),
            tuple(int(count) for count in class_count), attacks, counts, raised,
        )  # fmt: skip


def dataset_name(name: str) -> str:
    """Return a data set's name without a path: "cifar10" of "npz:/somewhere/cifar10" or ".../cifar10.npz"."""
    _, colon, place = name.partition(":")
    return Path(place).stem if colon else name


def standard_autoattack(claim: Claim) -> str | None:
    """Return the name of the attack that is AutoAttack's standard version, whatever its record calls it."""
    published = resolved_parts("standard", norm=cast(Norm, claim.norm), num_classes=claim.num_classes)
    for name, resolved in claim.attacks.items():
        ran = resolved.get("parts") if isinstance(resolved, Mapping) else None
        if isinstance(ran, Mapping) and [*ran.items()] == [*published.items()]:
            return name
    return None


def why_no_figure(claim: Claim, what: str) -> str | None:
    """Return one sentence that says why a number is no RobustBench figure; None where it is one.

    Args:
        claim: what is known of it.
        what: what the sentence calls it: "the run 'x'".
    """
    board = BOARDS.get(claim.dataset)
    wrong = [*_wrong_attack(claim), *_wrong_images(claim, board)]
    advice = "; evaluate with --attacks aa and without --samples-per-class" if wrong else ""
    wrong += _wrong_threat(claim, board)
    if claim.raised:
        wrong.append(f"raised the flags {', '.join(map(plain, claim.raised))[:100]}")
    if not wrong:
        return None
    return (
        f"{what} is not a RobustBench figure, which is AutoAttack's standard version on {_terms(claim, board)}, "
        f"without raised flags: it {', and it '.join(wrong)}{advice}."
    )


def footnote(claim: Claim) -> str | None:
    """Return what must be said beside a figure that is of more images than RobustBench's; None where nothing must."""
    images = sum(claim.class_count)
    if claim.dataset != "imagenet" or images == IMAGENET_LIST:
        return None
    return f"On all {images} validation images; RobustBench evaluates on {IMAGENET_LIST} of them."


def _terms(claim: Claim, board: Board | None) -> str:
    name = plain(claim.dataset)[:60]
    if board is None:
        return f"the whole test split of {name}"
    images = " or ".join(f"{count:,}" for count in board.images)
    radius = " or ".join(f"{norm} {eps}" for norm, eps in board.eps.items())
    return f"the {images} test images of {name}'s {board.num_classes:,} classes at {radius}"


def _wrong_attack(claim: Claim) -> list[str]:
    name = standard_autoattack(claim)
    if name is None:
        cascades = [
            one for one, resolved in claim.attacks.items() if isinstance(resolved, Mapping) and "parts" in resolved
        ]
        if cascades:
            return [f"ran {cascades[0][:60]!r} with parts or budgets of its own"]
        return [f"ran only {', '.join(claim.attacks)[:100]}"]
    if claim.counts[name] != sum(claim.class_count):
        return [f"ran {name[:60]!r} on {claim.counts[name]:,} of {sum(claim.class_count):,} images"]
    return []


def _wrong_images(claim: Claim, board: Board | None) -> list[str]:
    wrong, images = [], sum(claim.class_count)
    if claim.selection != "all" or claim.split != "test":
        wrong.append(f"saw {plain(claim.selection)[:60]} of {plain(claim.split)[:20]!r}")
    elif board is not None and images not in board.images:
        wrong.append(f"saw {images:,} images")
    if board is not None and claim.num_classes != board.num_classes:
        wrong.append(f"had {claim.num_classes:,} classes")
    elif board is not None and not wrong and images != IMAGENET_LIST and len({*claim.class_count}) > 1:
        # All of these test sets are balanced.
        wrong.append(f"saw {min(claim.class_count):,} images of one class and {max(claim.class_count):,} of another")
    return wrong


def _wrong_threat(claim: Claim, board: Board | None) -> list[str]:
    if board is None:
        return []
    eps = board.eps.get(claim.norm)
    if eps is not None and abs(parse_number(eps, what="eps") - claim.eps) < 1e-6:
        return []
    return [f"was attacked in {claim.norm[:20]} at {claim.eps:.6g}"]
