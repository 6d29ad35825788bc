from __future__ import annotations

import pytest
import torch

from fairbench.attacks import parse_attack, parse_attacks
from fairbench.errors import BadInput
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.units import attack_units, check_engine, natural_unit, with_final_verdicts
from fairbench.outcomes import Outcomes


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_units_in_order_and_what_each_needs(engine, model, threat):
    nets = Networks(model, model, model)
    units = attack_units(
        parse_attacks(["pgd5", "aa", "fgsm"]), nets, threat, num_classes=5, seed=0, engine=engine,
        example=torch.rand(2, 1, 5, 5),
    )  # fmt: skip
    assert [(unit.name, unit.before) for unit in (natural_unit(nets, threat), *units)] == [
        ("natural", None),
        ("pgd5", None),
        ("aa/apgd-ce", "natural"),
        ("aa/apgd-t", "aa/apgd-ce"),
        ("aa/fab-t", "aa/apgd-t"),
        ("aa/square", "aa/fab-t"),
        ("fgsm", None),
    ]


def test_a_cascade_ends_with_the_verdicts_of_its_last_part():
    def rows(attack, *prediction):
        return Outcomes.of_columns(attack, index=[0, 1, 2], label=[0, 0, 0], prediction=prediction)

    tables = [rows("natural", 0, 0, 0), rows("aa/apgd-ce", 1, 0, 0), rows("aa/square", 1, 2, 0), rows("fgsm", 0, 0, 3)]
    found = with_final_verdicts(parse_attacks(["aa", "fgsm"]), tables)
    assert found.attacks == ("natural", "aa", "aa/apgd-ce", "aa/square", "fgsm")
    assert found.of("aa")["prediction"].tolist() == [1, 2, 0]


def test_cascades_whose_names_begin_alike_keep_their_own_verdicts():
    def rows(attack, prediction):
        return Outcomes.of_columns(attack, index=[0], label=[0], prediction=[prediction])

    configs = parse_attacks(["aa", "aa(version=plus)"])
    plus = next(config.name for config in configs if config.name != "aa")
    assert plus.startswith("aa")
    tables = [rows("natural", 0), rows("aa/square", 1), rows(f"{plus}/fab-t", 2)]
    found = with_final_verdicts(configs, tables)
    assert [found.of(name)["prediction"].item() for name in ("aa", plus)] == [1, 2]


def test_engines():
    check_engine("native", parse_attack("aa(version=plus)"), 2)
    check_engine("reference", parse_attack("aa"), 4)
    for engine in ("original", ""):
        with pytest.raises(BadInput, match="engine"):
            check_engine(engine)
    for attack, num_classes in (("aa", 3), ("aa(version=plus)", 10), ("aa(queries=10)", 10)):
        with pytest.raises(BadInput, match="use --engine native"):
            check_engine("reference", parse_attack(attack), num_classes)
