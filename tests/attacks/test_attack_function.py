"""An attack string becomes exactly the function call that it describes."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fairbench.attacks import attack_function, l2, parse_attack
from fairbench.attacks.cw import cw
from fairbench.attacks.early_stop import stopping
from fairbench.attacks.fgsm import fgsm
from fairbench.attacks.kl import kl
from fairbench.attacks.linf import no_start, normal_start, project
from fairbench.attacks.pgd import pgd
from fairbench.attacks.restarts import keep_best
from fairbench.attacks.temperature_pgd import temperature_pgd
from fairbench.threat import Threat

CALLS = {
    "fgsm": fgsm,
    "fgsm(start=normal)": partial(fgsm, start=normal_start),
    "pgd3": partial(pgd, steps=3),
    "pgd3(step_size=0.01,start=none)": partial(pgd, steps=3, step_size=0.01, start=no_start),
    "pgd2(restarts=4)": partial(keep_best, partial(pgd, steps=2), restarts=4),
    "pgd9(early_stop=yes)": partial(stopping(pgd, project), steps=9),
    "cw3(kappa=0.2)": partial(cw, steps=3, kappa=0.2),
    "cw9(early_stop=yes)": partial(cw, steps=9, descend=stopping(pgd, project)),
    "tpgd3(T=0.3)": partial(temperature_pgd, steps=3, temperature=0.3),
    "tpgd3(T=0.3,where=multiply)": partial(temperature_pgd, steps=3, temperature=1 / 0.3),
    "kl3": partial(kl, steps=3),
}
L2_CALLS = {
    "fgsm": partial(fgsm, descend=l2.pgd_l2),
    "pgd3": partial(l2.pgd_l2, steps=3),
    "cw3": partial(cw, steps=3, descend=l2.pgd_l2, start=l2.uniform_start),
    "pgd9(early_stop=yes)": partial(stopping(l2.pgd_l2, l2.project), steps=9, start=l2.uniform_start),
}


@pytest.mark.parametrize(("text", "norm"), [*((text, "Linf") for text in CALLS), *((text, "L2") for text in L2_CALLS)])
def test_call(text, norm, network, images, random):
    x, y = images
    eps = 0.1 if norm == "Linf" else 0.8
    call = (CALLS if norm == "Linf" else L2_CALLS)[text]
    found = attack_function(parse_attack(text), Threat.parse(norm, eps))(network, x, y, eps=eps, random=random)
    assert torch.equal(found, call(network, x, y, eps=eps, random=random))


def test_the_examples_differ_from_each_other(network, images, random):
    x, y = images
    found = [
        attack_function(parse_attack(text), Threat.parse("Linf", 0.1))(network, x, y, eps=0.1, random=random)
        for text in CALLS
    ]
    same = [(i, j) for i in range(len(found)) for j in range(i) if torch.equal(found[i], found[j])]
    assert not same
