"""A whole diagnosis of a small run, and what it needs from the folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fairbench.errors import BadInput
from fairbench.metrics.diagnosis import compare_rankings, diagnose, diagnosis_json
from fairbench.outcomes import Outcomes
from fairbench.runs import Run

NAMES = ("bird", "cat", "ship", "truck")
BUDGET = {"norm": "Linf", "eps": 0.1, "steps": 20, "step_size": 0.025, "start": "uniform", "restarts": 1}
PGD = {"family": "pgd", **BUDGET}


def run_of(wrong: dict[str, list[int]], attacks: dict[str, dict[str, object]], names=NAMES, name="run") -> Run:
    """Of each class's 10 images the first `wrong[attack][class]` go to the next class."""
    label, place = np.repeat(np.arange(len(names)), 10), np.tile(np.arange(10), len(names))
    tables = [
        Outcomes.of_columns(
            attack, index=np.arange(len(label)), label=label, margin=np.where(label == 0, 1.0, 2.0) + place,
            prediction=np.where(place < np.asarray(counts)[label], (label + 1) % len(names), label),
        )
        for attack, counts in wrong.items()
    ]  # fmt: skip
    record = {"dataset": {"class_names": list(names), "num_classes": len(names)}, "attacks": attacks}
    return Run(name, record, Outcomes.concat(tables))


WRONG = {"natural": [1, 0, 0, 0], "fgsm": [2, 3, 0, 0], "pgd20": [4, 6, 1, 0], "tpgd20(T=2)": [4, 5, 1, 0]}
ATTACKS = {"fgsm": {"family": "fgsm", **BUDGET, "steps": 1}, "pgd20": PGD,
           "tpgd20(T=2)": {**PGD, "family": "tpgd", "T": 2.0, "where": "divide"}}  # fmt: skip


def test_a_run_by_hand():
    found = diagnose(run_of(WRONG, ATTACKS))
    assert found.attacks == ("fgsm", "tpgd20(T=2)", "pgd20")
    assert found.attack == "pgd20"
    assert found.natural.tolist() == [0.9, 1, 1, 1]
    assert found.robust.tolist() == [0.6, 0.4, 0.9, 1]
    assert found.already_wrong.tolist() == [1, 0, 0, 0]
    # bird -> cat 4 within animals, cat -> ship 6 not, ship -> truck 1 within vehicles.
    assert (found.kin.errors, found.kin.within) == (11, 5)
    assert [one.first for one in found.rankings] == ["natural", "fgsm"]
    (gain,) = found.gains
    assert (gain.weaker, gain.stronger) == ("fgsm", "pgd20")
    assert gain.points.tolist() == pytest.approx([0.2, 0.3, 0.1, 0])
    assert gain.share.tolist() == pytest.approx([2 / 8, 3 / 7, 1 / 10, 0])
    (sweep,) = found.temperatures
    assert (sweep.temperature, sweep.gain.weaker) == (2.0, "pgd20")
    assert sweep.gain.points.tolist() == pytest.approx([0, -0.1, 0, 0])
    assert "diagnose CHECKPOINT" in found.classifier


def test_temperature_needs_the_same_budget_and_knows_where_it_enters():
    attacks = dict(ATTACKS)
    attacks["tpgd20(T=2)"] = {**PGD, "family": "tpgd", "T": 4.0, "where": "multiply"}
    assert diagnose(run_of(WRONG, attacks)).temperatures[0].temperature == 0.25
    attacks["tpgd20(T=2)"] = {**PGD, "family": "tpgd", "T": 4.0, "where": "divide", "restarts": 5}
    assert diagnose(run_of(WRONG, attacks)).temperatures == ()


def test_natural_alone():
    found = diagnose(run_of({"natural": [1, 0, 0, 0]}, {}))
    assert (found.attacks, found.attack) == ((), "natural")
    assert found.rankings == found.gains == found.correlates == ()


def test_the_folder_gives_norms_and_superclasses(tmp_path):
    (tmp_path / "classifier.json").write_text(json.dumps({"layer": "fc", "weight_norm": [1.0, 0.5, 2.0, 3.0]}))
    (tmp_path / "superclasses.json").write_text(json.dumps({"left": ["bird", "ship"], "right": ["cat", "truck"]}))
    run = run_of(WRONG, ATTACKS)
    found = diagnose(Run(run.name, run.record, run.outcomes, tmp_path))
    assert found.superclasses.names == ("left", "right")
    assert found.correlates[-1].key == "weight_norm"
    assert found.correlates[-1].correlation.tau == 1
    assert found.classifier == ""


def test_json_is_strict_and_stable():
    text = diagnosis_json(diagnose(run_of(WRONG, ATTACKS)))
    assert text == diagnosis_json(diagnose(run_of(WRONG, ATTACKS)))
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["flows"]["edges"][0] == {
        "source": 1, "target": 2, "count": 6, "share_of_class": 0.6, "share_of_broken": 1.0,
    }  # fmt: skip


def test_rankings_of_several_runs():
    """Under the strongest attack that both have: a has pgd20, b only fgsm."""
    a, b = run_of(WRONG, ATTACKS), run_of({"natural": WRONG["natural"], "fgsm": [0, 0, 8, 9]}, ATTACKS)
    (found,) = compare_rankings([a, b], ["a", "b"])
    assert (found.first, found.second) == ("a", "b")
    assert found.agreement.tau < 0
    assert compare_rankings([a, run_of({"natural": [0] * 4}, {})], ["a", "c"]) == ()
    with pytest.raises(BadInput, match="same classes"):
        compare_rankings([a, run_of(WRONG, ATTACKS, names=("a", "b", "c", "d"))], ["a", "d"])


def test_a_committed_run_is_diagnosed_without_torch():
    """In a fresh interpreter in which every import of torch fails."""
    root = Path(__file__).parents[2]
    code = f"""
import sys
from pathlib import Path
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
from fairbench.metrics.diagnosis import diagnose
from fairbench.runs import read_run
print(diagnose(read_run(Path({str(root)!r}) / "reports" / "digits-sat")).attack)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout.strip() == "pgd20", done.stderr
