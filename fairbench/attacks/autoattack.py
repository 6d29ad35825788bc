"""AutoAttack's versions: which parts in which order, each with every keyword resolved.

Paper: Croce & Hein, ICML 2020, arXiv 2003.01690; L1: "Mind the box", ICML 2021, arXiv 2103.01208. Versions as in the
authors' code:

    standard  apgd-ce, apgd-t, fab-t, square
    plus      apgd-ce, apgd-dlr, fab, square, apgd-t, fab-t; five restarts of the untargeted ones
    rand      apgd-ce, apgd-dlr, each gradient the mean of 20 draws: for randomised models

In the authors' code `plus` runs FAB with one restart instead of five where the same object is used again, since its
targeted part overwrites the number; here it has five always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.attacks.targets import TARGETS, num_targets
from fairbench.threat import Norm

VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
#: By a part's name: where the attack is (see `named_function`), and what it is always called with.
PARTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "apgd-ce": ("apgd:apgd", {"loss": "ce"}),
    "apgd-dlr": ("apgd:apgd", {"loss": "dlr"}),
    "apgd-t": ("apgd:apgd_targeted", {}),
    "fab": ("fab:fab", {}),
    "fab-t": ("fab:fab_targeted", {}),
    "square": ("square:square", {}),
}
STEPS, QUERIES, DRAWS = 100, 5000, 20


def resolved_parts(
    version: str,
    *,
    norm: Norm,
    num_classes: int,
    parts: Sequence[str] | None = None,
    steps: int | None = None,
    queries: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return every part's keywords by its name, in the order in which they run.

    Args:
        version: a key of VERSIONS.
        norm: in L1 the standard version has 5 restarts of apgd-ce, 5 targets of apgd-t, and APGD in three stages.
        num_classes: K; there are at most K - 1 targets.
        parts: names of other parts than the version's.
        steps: of APGD and FAB, instead of 100.
        queries: of Square, instead of 5,000.
    """
    sparse = norm == "L1" and version == "standard"

    def keywords(name: str) -> dict[str, Any]:
        if name == "square":
            return {"queries": queries or QUERIES, "restarts": 1}
        untargeted = not name.endswith("-t")
        often = untargeted and (version == "plus" or (sparse and name != "fab"))
        found: dict[str, Any] = {"steps": steps or STEPS, "restarts": 5 if often else 1}
        if not untargeted:
            found["targets"] = num_targets(num_classes, 5 if sparse and name == "apgd-t" else TARGETS)
        if name.startswith("apgd"):
            found["draws"] = DRAWS if version == "rand" else 1
            if norm == "L1":
                found["staged"] = sparse
        return found

    return {name: keywords(name) for name in (parts or VERSIONS[version])}
