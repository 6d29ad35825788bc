"""`fairbench train --reweight --remargin --retemper`: rules of several methods in one training, and what is refused."""

from __future__ import annotations

import json

import pytest

from fairbench.cli import run
from fairbench.models.checkpoint import read_sidecar

SMALL = ["--samples-per-class", "6", "--epochs", "3", "--batch-size", "20", "-p", "steps=2"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    natural = ["train", "--dataset", "digits", "--method", "natural", "--samples-per-class", "10", "--epochs", "6"]
    assert run([*natural, "--batch-size", "20", "--out", str(out)]) == 0
    return str(out / "digits-natural.pt")


def trained(folder, teacher, *slots):
    """The sidecar and the log of ABSLD with further rules."""
    absld = ["train", "--dataset", "digits", "--method", "absld", "--teacher", teacher, *SMALL]
    assert run([*absld, *slots, "--out", str(folder), "--name", "student"]) == 0
    log = [json.loads(line) for line in (folder / "student.log.jsonl").read_text().splitlines()]
    return read_sidecar(folder / "student.pt"), log


def test_three_rules_in_three_slots(teacher, tmp_path):
    """Weights of Fair-ARD, radii of CFA and ABSLD's own temperatures, each by its rule; before the first update, none.

    Every rule starts at 1 and acts from the second epoch on, so that the first is ABSLD's, which is RSLAD's.
    """
    sidecar, log = trained(tmp_path / "three", teacher, "--reweight", "fair-ard", "--remargin", "cfa")
    _, plain = trained(tmp_path / "plain", teacher)
    assert sidecar["slots"] == {"reweight": "fair-ard", "remargin": "cfa", "retemper": "absld"}
    assert {"fair-ard.beta", "cfa.lambda_1", "absld.rate"} <= set(sidecar["hyper"])
    assert log[0]["loss"] == plain[0]["loss"]
    assert log[1]["loss"] != plain[1]["loss"]

    state, eps = log[1]["class_state"], log[1]["class_eps"]
    weights, factors = state["fair-ard.class_weight"], state["cfa.radius_factor"]
    assert len({round(weight, 6) for weight in weights}) > 1
    assert all(5 / 6 - 1e-12 <= weight <= 5 / 2 + 1e-12 for weight in weights)
    assert len(set(factors)) > 1
    assert eps == pytest.approx([0.1 * factor for factor in factors])
    # lambda_1 = .5 plus the class's robust accuracy on its 6 images.
    assert all((factor - 0.5) * 6 == pytest.approx(round((factor - 0.5) * 6)) for factor in factors)
    for term in ("natural", "robust"):
        # The class that stands out most moves by the rate, .1.
        assert max(abs(t - 1) for t in state[f"absld.{term}_temperature"]) == pytest.approx(0.1)
    assert "fair-ard.class_weight" not in plain[1]["class_state"]
    assert plain[1]["class_eps"] is None


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("sat", ["--reweight", "cfa"], "the class rule 'cfa' cannot reweight; it can be given to --remargin."),
        ("sat", ["--remargin", "wat"], "the class rule 'wat' cannot remargin; it can be given to --reweight."),
        ("sat", ["--retemper", "absld"], "does not fit method 'sat', which has no teacher's labels and a loss on nat"),
        ("natural", ["--remargin", "cfa"], "does not fit method 'natural', which has no loss on adversarial images"),
        ("bat", ["--reweight", "fair-ard"], "has no count of the attack steps that a sample withstands"),
        ("mart", ["--reweight", "risk-weight"], "does not fit method 'mart', which has no loss on natural images"),
        ("ard", ["--reweight", "dafa"], "weighs loss on natural images alone, which has a coefficient of 0 in method"),
        ("trades", ["--remargin", "frl", "-p", "frl.variant=reweight"], "would leave every radius as it is"),
        ("absld", ["--reweight", "frl", "-p", "frl.limits=1"], "unknown hyper-parameter of absld 'frl.limits'"),
    ],
)
def test_what_would_not_be_done_is_refused(teacher, tmp_path, capsys, method, options, sentence):
    taught = ["--teacher", teacher] if method in ("ard", "absld") else []
    asked = ["train", "--dataset", "digits", "--method", method, *taught, *options]
    assert run([*asked, "--samples-per-class", "6", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1, "one sentence, no warning beside it"
    assert len(captured.err) < 600
    assert list(tmp_path.iterdir()) == [], "a refusal leaves nothing behind"
