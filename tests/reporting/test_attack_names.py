from __future__ import annotations

from fairbench.reporting.attack_names import in_order, parts_of, top_level


def test_a_part_is_a_name_below_another_attack() -> None:
    names = ("natural", "aa", "aa/apgd-ce", "aa/square", "pgd20(step_size=2/255)")
    assert top_level(names) == ("natural", "aa", "pgd20(step_size=2/255)"), "a fraction in brackets is no part"
    assert parts_of("aa", names) == ("aa/apgd-ce", "aa/square")
    assert top_level(("aa/apgd-ce",)) == ("aa/apgd-ce",), "without its whole, a part stands for itself"


def test_attacks_keep_the_order_they_were_asked_in() -> None:
    assert in_order(("aa", "fgsm", "natural", "pgd20"), {"pgd20": {}, "fgsm": {}}) == ("natural", "pgd20", "fgsm", "aa")
