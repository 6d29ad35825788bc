"""What a race prints of flags: a network whose gradients are masked gets no clean answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli.eval_race import print_finding
from fairbench.evaluation.find_worst import Finding

FLAG = {"name": "zero gradients", "class": 1, "evidence": "of 40 % of images", "advice": "use AutoAttack's Square"}


def finding(severity: str) -> Finding:
    record = {
        "question": {"confidence": 0.95, "below": 0.25}, "worst_is_below": False, "certain": True, "cascade": "aa",
        "classes": [{"name": "cat", "count": 10}, {"name": "<dog>\n", "count": 10}],
        "spent": {"drawn": 3, "survivors": 9, "forwards": 1e6, "full_forwards": 4e6, "share": 0.25},
        "flags": [{**FLAG, "severity": severity}],
    }  # fmt: skip
    return Finding(record, Path("runs/x"))


@pytest.mark.parametrize(("severity", "said"), [("warning", "flag"), ("accepted", "accepted")])
def test_flags_stand_above_the_answer(capsys, severity, said):
    print_finding(finding(severity))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{said} zero gradients (class <dog> ): of 40 % of images; use AutoAttack's Square")
    doubted = [line for line in lines if "doubt the full run itself" in line]
    assert len(doubted) == (severity != "accepted")
    assert lines[-1] == "runs/x"
