"""The presets, against the table of attack variants in the literature, written out here a second time."""

from __future__ import annotations

import pytest

from fairbench.attacks import PRESETS, parse_attack
from fairbench.threat import Threat

C10 = 8 / 255
#: name: (eps, step size, steps, objective, start, kappa, early stop)
LITERATURE = {
    "pgd20_003": (C10, 0.003, 20, "cross-entropy", "uniform", None, False),
    "pgd20_003_031": (0.031, 0.003, 20, "cross-entropy", "uniform", None, False),
    "pgd20_2_255": (C10, 2 / 255, 20, "cross-entropy", "uniform", None, False),
    "pgd20_eps4": (C10, C10 / 4, 20, "cross-entropy", "uniform", None, True),
    "pgd10_2_255": (C10, 2 / 255, 10, "cross-entropy", "uniform", None, False),
    "pgd100_003_031": (0.031, 0.003, 100, "cross-entropy", "uniform", None, False),
    "fgsm_f": (C10, C10, 1, "cross-entropy", "normal", None, False),
    "cw_k50_2_255": (C10, 2 / 255, 20, "margin", "uniform", 50.0, False),
    "cw_k50_003": (0.031, 0.003, 30, "margin", "uniform", 50.0, False),
    "cw_margin": (C10, C10 / 4, 20, "margin", "uniform", None, False),
}


def test_all_presets_and_no_other():
    assert set(PRESETS) == set(LITERATURE)


@pytest.mark.parametrize("name", LITERATURE)
def test_preset(name):
    eps, step_size, steps, objective, start, kappa, early_stop = LITERATURE[name]
    config = parse_attack(name)
    resolved = config.resolved(Threat.parse("Linf", config.eps), 10)
    assert resolved["eps"] == pytest.approx(eps, abs=1e-12)
    assert resolved["step_size"] == pytest.approx(step_size, abs=1e-12)
    assert (resolved["steps"], resolved["objective"], resolved["start"]) == (steps, objective, start)
    assert (resolved.get("kappa"), resolved["early_stop"]) == (kappa, early_stop)
