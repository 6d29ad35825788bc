"""The race on a real network: the full run's answer and verdicts, resumable, and its refusals."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.attacks.budget import part_budget
from fairbench.cli import run
from fairbench.data import load_dataset
from fairbench.errors import BadInput
from fairbench.evaluation import race_rounds
from fairbench.evaluation.blocks import Unit, Work
from fairbench.evaluation.evaluate import run_plan
from fairbench.evaluation.find_worst import Question, find_worst
from fairbench.evaluation.plan import Plan, make_plan
from fairbench.evaluation.trust import Trust
from fairbench.metrics import race as statistics
from fairbench.metrics.summary import summarize
from fairbench.models.load import load_model
from fairbench.outcomes import Outcomes
from fairbench.progress import Silent

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "digits-sat.pt"
#: A cascade of seconds; the digits network is weak enough at this radius that its later parts break something.
ATTACK, EPS = "aa(steps=5,queries=30)", "0.15"


def plan(attack: str = ATTACK, *, engine: str = "native", batch_size: int = 32) -> Plan:
    samples = load_dataset("digits").first_per_class(20)
    return make_plan(
        samples, attack, eps=EPS, batch_size=batch_size, engine=engine, threads=1,
        model_record={"name": "digits-sat", "sha256": "0" * 64, "normalize": "none"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model(CHECKPOINT)


@pytest.fixture(scope="module")
def full(model: nn.Module) -> Any:
    """The full run's verdicts: the truth."""
    return run_plan(model, plan(), Trust(), out=None, progress=Silent(), normalizations={}).outcomes


def race(model: nn.Module, question: Question, *, out: Path | None = None, **changes: Any) -> dict[str, Any]:
    found = find_worst(model, plan(**changes), Trust(), question, out=out, progress=Silent(), normalizations={})
    return dict(found.record)


def robust_by_class(full: Any, attack: str) -> np.ndarray:
    return np.bincount(full.labels(attack)[full.robust(attack)], minlength=10)


def test_the_race_names_the_full_runs_worst_class_with_its_verdicts(model: nn.Module, full: Any) -> None:
    truth, after_first = robust_by_class(full, ATTACK), robust_by_class(full, f"{ATTACK}/apgd-ce")
    assert truth.sum() < after_first.sum()  # the later parts do break something
    found = race(model, Question(confidence=0.8))
    worst = found["worst_class"]
    assert worst["index"] == int(np.argmin(truth))
    assert (worst["robust"], worst["count"]) == (truth.min(), 20)
    # What the full run's report says of its worst class.
    reported = summarize(full, class_names=[str(k) for k in range(10)])["attacks"][ATTACK]
    assert worst["population_interval"] == pytest.approx(reported["interval"]["worst_class"], abs=1e-12)
    for label, known in enumerate(found["classes"]):
        assert known["after_first_part"] == after_first[label]
        assert known["broken"] <= after_first[label] - truth[label]
        low, high = known["full_accuracy"]
        assert low <= truth[label] / 20 <= high
    spent = found["spent"]
    assert spent["survivors"] == after_first.sum()
    assert spent["drawn"] == sum(known["drawn"] for known in found["classes"])
    assert 0 < spent["forwards"] <= spent["full_forwards"]


def test_the_benchmark_replays_the_race_that_the_command_runs(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replayed on the full run's table under the same seed: the same draws, the same answer and the same forwards."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("find_worst")
    run_plan(model, plan(), Trust(), out=tmp_path, progress=Silent(), normalizations={})
    run = benchmark.RealRun(tmp_path)
    assert run.batch == 32  # the block of `plan`, smaller than a round
    found = race(model, Question(confidence=0.8))
    table = run.table(np.random.default_rng(0), plan().seed)
    replayed = statistics.Race(table.survivors, table.count, confidence=0.8)
    benchmark.finish(replayed, table, run.batch)
    assert replayed.draws.drawn.sum() < table.survivors.sum()  # a race, and not the whole table
    assert replayed.draws.drawn.tolist() == [known["drawn"] for known in found["classes"]]
    assert replayed.draws.broken.tolist() == [known["broken"] for known in found["classes"]]
    assert replayed.answer().worst == found["worst_class"]["index"]
    assert table.share() == found["spent"]["forwards"] / (run.entered + run.cost.sum())


def test_what_everything_costs_is_the_published_budget(
    model: nn.Module, full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody leaves and all survivors are drawn, the cost is the full run's: every part times who enters it."""
    monkeypatch.setattr(statistics.Race, "_beaten", lambda *_: False)
    found = race(model, Question())
    assert found["spent"]["drawn"] == found["spent"]["survivors"]
    assert found["worst_class"]["robust"] == robust_by_class(full, ATTACK).min()
    parts = plan().attacks()[ATTACK]["parts"]
    entered = [robust_by_class(full, "natural").sum()]
    entered += [robust_by_class(full, f"{ATTACK}/{part}").sum() for part in [*parts][:-1]]
    each = [part_budget(part, words, 5).forwards for part, words in parts.items()]
    expected = sum(budget * n for budget, n in zip(each, entered, strict=True))
    assert found["spent"]["forwards"] == found["spent"]["full_forwards"] == expected


def test_an_interrupted_race_goes_on_to_the_same_answer(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question(confidence=0.8)
    expected = race(model, question, out=tmp_path / "whole")
    honest = race_rounds.Rounds._verdicts
    calls: list[int] = []

    def killed(self: race_rounds.Rounds, positions: Any, number: int) -> dict[int, bool]:
        if number == 2:
            raise KeyboardInterrupt
        return honest(self, positions, number)

    monkeypatch.setattr(race_rounds.Rounds, "_verdicts", killed)
    with pytest.raises(KeyboardInterrupt):
        race(model, question, out=tmp_path / "cut")
    assert not (tmp_path / "cut" / "race.json").exists()
    monkeypatch.setattr(race_rounds.Rounds, "_verdicts", honest)
    attack_units = race_rounds.attack_units

    def counted(*arguments: Any, **keywords: Any) -> list[Unit]:
        """Note how many samples go through the second part: what was finished is not computed again."""

        def watched(unit: Unit) -> Unit:
            def compute(work: Work) -> Outcomes:
                calls.append(len(work.y) if unit.name.endswith("/apgd-t") else 0)
                return unit.compute(work)

            return Unit(unit.name, compute, unit.before)

        return [watched(unit) for unit in attack_units(*arguments, **keywords)]

    monkeypatch.setattr(race_rounds, "attack_units", counted)
    found = race(model, question, out=tmp_path / "cut")
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert 0 < sum(calls) < expected["spent"]["drawn"]
    assert json.loads((tmp_path / "cut" / "race.json").read_text()) == found
    assert not (tmp_path / "cut" / "race").exists()
    calls.clear()
    assert race(model, question, out=tmp_path / "cut") == found
    assert calls == []


def test_the_full_run_goes_on_in_the_folder_of_the_race(model: nn.Module, full: Any, tmp_path: Path) -> None:
    race(model, Question(confidence=0.8), out=tmp_path / "run")
    finished = run_plan(model, plan(), Trust(), out=tmp_path / "run", progress=Silent(), normalizations={})
    assert finished.outcomes.frame.equals(full.frame)
    with pytest.raises(BadInput, match="holds the full run, which knows its worst class"):
        race(model, Question(), out=tmp_path / "run")


def test_another_question_in_the_same_folder_is_refused(model: nn.Module, tmp_path: Path) -> None:
    race(model, Question(confidence=0.8), out=tmp_path / "run")
    with pytest.raises(BadInput, match=r"confidence = 0\.8 there, but 0\.9 here"):
        race(model, Question(confidence=0.9), out=tmp_path / "run")


def test_an_answer_of_another_version_is_refused(model: nn.Module, tmp_path: Path) -> None:
    race(model, Question(confidence=0.8), out=tmp_path / "run")
    file = tmp_path / "run" / "race.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 1}))
    with pytest.raises(BadInput, match=r"has schema 1, this version reads 2\); choose another --out"):
        race(model, Question(confidence=0.8), out=tmp_path / "run")


def test_yes_and_no(model: nn.Module, full: Any) -> None:
    worst = robust_by_class(full, ATTACK).min() / 20
    assert race(model, Question(below=worst + 0.2))["worst_is_below"] is True
    assert race(model, Question(below=worst))["worst_is_below"] is False  # exactly at it is not below


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "pgd5"}, "say --attacks aa"),
        ({"attack": f"pgd5,{ATTACK}"}, "say --attacks aa"),
        ({"attack": "aa", "engine": "reference"}, "use --engine native"),
    ],
)
def test_what_cannot_be_raced_is_refused(changes: dict[str, Any], words: str, model: nn.Module) -> None:
    with pytest.raises(BadInput, match=words):
        race(model, Question(), **changes)


def test_the_command_answers_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["eval", str(CHECKPOINT), "--attacks", ATTACK, "--eps", EPS, "--samples-per-class", "8", "--threads", "1"]
    assert run([*asked, "--find-worst", "--confidence", "0.8", "--out", str(tmp_path / "a")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:1]] == ["Worst class of the full run"]
    assert any(line.startswith("Certificate: ") for line in lines)
    assert any(line.startswith("Population: on new images the worst class, whichever") for line in lines)
    assert any(line.startswith("Spent: full verdicts on ") for line in lines)
    assert lines[-1] == str(tmp_path / "a")
    assert run([*asked, "--worst-below", "0.99", "--out", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().out.startswith("Yes, below 99 %")
    assert run([*asked, "--worst-below", "0.01", "--confidence", "0.5", "--out", str(tmp_path / "c")]) in (0, 1)
    for wrong, words in (
        (["--confidence", "0.9"], "neither was given"),
        (["--find-worst", "--worst-below", "0.2"], "two questions"),
        (["--find-worst", "--save-adversarial"], "a race keeps no adversarial examples"),
        (["--worst-below", "25"], "--worst-below must lie between 0 and 1, such as 0.25, but is '25'"),
        (["--find-worst", "--confidence", "often"], "--confidence"),
    ):
        assert run([*asked, *wrong, "--out", str(tmp_path / "d")]) == 2
        said = capsys.readouterr()
        assert words in " ".join(said.err.split())


def test_the_model_is_given_back_as_it_was(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    race(model, Question(below=0.9))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
