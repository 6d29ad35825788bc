"""Small runs from hand-made numbers: how many of each class's images are right under each attack."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.outcomes import Outcomes
from fairbench.runs import Run, write_run

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EVIL = (
    "<script>document.documentElement.dataset.ran = 'yes'</script>",
    "<img src=x onerror=\"document.documentElement.dataset.ran='yes'\">",
    "</svg></style><b>bold</b>",
    "$x_1^2$ & \\textbf{y}",
    '=HYPERLINK("a")|`z`',
)


def table_of(hits: Mapping[str, Sequence[int]], per_class: int) -> Outcomes:
    """Of each class's `per_class` images the first `hits[attack][class]` are right, the others go to the next class."""
    num_classes = len(next(iter(hits.values())))
    y = np.repeat(np.arange(num_classes), per_class)
    place = np.tile(np.arange(per_class), num_classes)
    tables = []
    for attack, right in hits.items():
        prediction = np.where(place < np.asarray(right)[y], y, (y + 1) % num_classes)
        tables.append(
            Outcomes.of_columns(attack, index=np.arange(len(y)), label=y, prediction=prediction, margin=0.5 - place)
        )
    return Outcomes.concat(tables)


def record_of(
    names: Sequence[str],
    per_class: int,
    attacks: Sequence[str],
    /,
    *,
    model: str = "net",
    selection: str = "all",
    **more: Any,
) -> dict[str, Any]:
    digest = hashlib.sha256(f"{per_class} {selection} {names}".encode()).hexdigest()
    record = {
        "schema": 1,
        "protocol": 1,
        "command": "fairbench eval net.pt",
        "started": "2025-01-02T03:04:05Z",
        "seconds": 12.5,
        "versions": {"python": "3.11.7", "fairbench": "0.1.0", "torch": "2.6.0"},
        "commit": "0123abcd",
        "hardware": {"platform": "Linux", "processor": "CPU", "cores": 2},
        "processes": 1,
        "threads": 1,
        "block_size": 64,
        "seeds": {"attack": 0},
        "dataset": {
            "name": "toy", "split": "test", "count": per_class * len(names), "num_classes": len(names),
            "class_names": list(names), "selection": selection, "index_sha256": digest, "sha256": digest[::-1],
        },
        "model": {"name": model, "sha256": hashlib.sha256(model.encode()).hexdigest(), "normalize": "none"},
        "threat": {"norm": "Linf", "eps": 8 / 255, "eps_text": "8/255"},
        "attacks": {a: {"steps": 20, "step_size": 2 / 255} for a in attacks if a != "natural" and "/" not in a},
        "precision": "float32",
        "device": "cpu",
        "engine": "reference",
        "accepted": [],
        "flags": [],
    }  # fmt: skip
    return {**record, **more}


@pytest.fixture(scope="session")
def runs_in() -> Callable[[Path], Callable[..., Run]]:
    """A function that, given a folder, returns a function that writes runs into it and returns them."""

    def at(folder: Path) -> Callable[..., Run]:
        def make(
            name: str,
            hits: Mapping[str, Sequence[int]],
            per_class: int,
            *,
            names: Sequence[str] | None = None,
            **record: Any,
        ) -> Run:
            names = names or CIFAR[: len(next(iter(hits.values())))]
            return write_run(
                folder / name, record_of(names, per_class, list(hits), **record), table_of(hits, per_class)
            )

        return make

    return at


@pytest.fixture
def make_run(tmp_path: Path, runs_in: Callable[[Path], Callable[..., Run]]) -> Callable[..., Run]:
    """A function that writes the run folder `name` and returns the run."""
    return runs_in(tmp_path)


def ten_classes(better: int) -> dict[str, list[int]]:
    """Of 20 images each; cat is far below the rest."""
    natural = [18, 19, 15, 12, 16, 15, 18, 17, 18, 18]
    robust = [12, 14, 9, 1, 8, 9, 13, 12, 13, 13]
    return {
        "natural": natural,
        "pgd20": [min(n, r + 1 + better) for n, r in zip(natural, robust, strict=True)],
        "aa": [r + better for r in robust],
    }


@pytest.fixture
def ten(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """A function (name, model) -> run of ten classes of 20 images."""

    def make(name: str, model: str = "net", better: int = 0, **record: Any) -> Run:
        return make_run(name, ten_classes(better), 20, model=model, **record)

    return make


@pytest.fixture(scope="session")
def two_models_two_samples(
    tmp_path_factory: pytest.TempPathFactory, runs_in: Callable[[Path], Callable[..., Run]]
) -> list[Run]:
    """Two models, each on 20 images per class, and with parts of aa on 2 per class."""
    make = runs_in(tmp_path_factory.mktemp("runs"))
    few = {"natural": [2] * 10, "aa": [1] * 9 + [0], "aa/apgd-ce": [2] * 9 + [1]}
    return [
        make("a-all", ten_classes(0), 20, model="first"),
        make("b-all", ten_classes(1), 20, model="second"),
        make("a-few", few, 2, model="first", selection="first 2 of each class"),
        make("b-few", few, 2, model="second", selection="first 2 of each class"),
    ]


@pytest.fixture
def evil(make_run: Callable[..., Run]) -> Run:
    """A run whose model, classes, data set and flags carry markup for every format."""
    flag = {"name": EVIL[0], "severity": EVIL[1], "class": 1, "evidence": EVIL[2], "advice": EVIL[3]}
    run = make_run(
        "evil", {"natural": [9, 8, 9, 7, 9], "pgd20": [6, 5, 6, 2, 5]}, 10, names=EVIL, model=EVIL[1],
        selection=EVIL[2], flags=[flag], accepted=[EVIL[0]], command=EVIL[0],
    )  # fmt: skip
    assert run.folder is not None
    log = '{"epoch": %d, "lr": 0.1, "loss": {"</svg>": 1.0, "total": 2.0}, "validation": {"<b>": {"average": 0.5,'
    log += ' "worst_class": 0.1}}, "class_state": {"<i>": [1, 2, 3, 4, %d]}}\n'
    (run.folder / "training.jsonl").write_text("".join(log % (epoch, epoch) for epoch in range(3)))
    return run


@pytest.fixture(scope="session")
def program() -> str:
    """A Chromium; tests that need it are skipped without one."""
    for name in (os.environ.get("CHROMIUM", ""), *BROWSERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    pytest.skip(f"no Chromium is installed (looked for {', '.join(BROWSERS)} and the program that CHROMIUM names)")


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core, from AXE_CORE or the package axe-core-python, never from the network."""
    package = importlib.util.find_spec("axe_core_python")
    found = Path(package.origin).with_name("axe.min.js") if package is not None and package.origin else None
    given = os.environ.get("AXE_CORE")
    found = Path(given) if given else found
    if found is None or not found.is_file():
        pytest.skip("axe-core is not there: install the extra 'dev', or name an axe.min.js in AXE_CORE")
    return found.read_text(encoding="utf-8")
