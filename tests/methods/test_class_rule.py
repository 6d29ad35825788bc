"""Slots: which rule fits where, whose hyper-parameters are whose, and one object for several slots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.methods.absld import ABSLDRule
from fairbench.methods.base import EpochState
from fairbench.methods.class_rule import SLOTS, ClassRule
from fairbench.outcomes import Outcomes


class HalfOfClassZero(ClassRule):
    """Halve weight and radius of class 0."""

    name = "halve"
    share: float = 0.5

    def __init__(self, num_classes, **hyper):
        super().__init__(num_classes, **hyper)
        self.register_buffer("factor", torch.ones(num_classes, dtype=torch.float64))
        self.factor[0] = self.share

    def weight(self, y, term, logits):
        return self.factor[y]

    def radius(self, y, eps, step_size):
        return eps * self.factor[y], step_size


class Other(HalfOfClassZero):
    name = "other"


def test_one_object_fills_all_slots_that_name_it(tiny):
    method = tiny.method("trades", slots={"reweight": HalfOfClassZero, "remargin": HalfOfClassZero})
    assert method.filled_slots() == {"reweight": "halve", "remargin": "halve"}
    assert list(method.state_dict()) == ["rules.halve.factor"]
    assert list(method.class_state()) == ["halve.factor"]


def test_weights_enter_the_mean_unnormalised(tiny):
    """Terms 1, 2, 3 with labels 0, 1, 0 and weights .5, 1, .5: 2 * mean(.5, 2, 1.5) = 2.6667; raw terms are kept."""
    method = tiny.method("trades", slots={"reweight": HalfOfClassZero})
    step = method.reduce(torch.tensor([0, 1, 0]), {"natural": (2.0, torch.tensor([1.0, 2.0, 3.0]))}, {})
    assert_close(step.total, torch.tensor(8 / 3))
    assert step.terms["natural"].tolist() == [1, 2, 3]


def test_a_regulariser_is_not_weighed(tiny):
    method = tiny.method("trades", slots={"reweight": HalfOfClassZero})
    step = method.reduce(torch.tensor([0]), {"uniform": (1.0, torch.tensor([1.0]))}, {})
    assert step.total == 1


def test_radius_reaches_the_attack(tiny):
    method = tiny.method("sat", slots={"remargin": HalfOfClassZero}, steps=3)
    batch = tiny.batch()
    distance = (
        (method.attack(tiny.network().eval(), batch, tiny.random(batch)).adversarial - batch.x).abs().amax((1, 2, 3))
    )
    assert distance[batch.y == 0].max() <= 0.05 + 1e-6
    assert distance[batch.y == 1].min() > 0.06


def test_hyper_parameters_find_their_owner(tiny):
    assert tiny.method("absld", rate="0.2").hyper()["absld.rate"] == 0.2
    assert tiny.method("absld", **{"absld.rate": 0.3}, steps=2).hyper() | {"absld.rate": 0.3, "steps": 2} == (
        tiny.method("absld", rate=0.3, steps=2).hyper()
    )
    both = {"reweight": HalfOfClassZero, "remargin": Other}
    assert tiny.method("trades", slots=both, **{"other.share": 0.1}).hyper()["other.share"] == 0.1
    with pytest.raises(BadInput, match=r"'share' belongs to several class rules; write halve\.share or other\.share"):
        tiny.method("trades", slots=both, share=0.1)


@pytest.mark.parametrize("key", ["rat", "absld.rat", "rslad.rate", "absld.steps"])
def test_unknown_hyper_parameter_names_the_nearest(tiny, key):
    with pytest.raises(BadInput, match="unknown hyper-parameter of absld"):
        tiny.method("absld", **{key: 1})


def test_did_you_mean(tiny):
    with pytest.raises(BadInput, match="Did you mean 'beta'"):
        tiny.method("trades", betta=1)


@pytest.mark.parametrize(
    ("method", "slot", "rule", "why"),
    [
        ("trades", "reweight", ABSLDRule, "cannot reweight; it can be given to --retemper"),
        ("trades", "retemper", ABSLDRule, "no teacher's labels"),
        ("natural", "remargin", HalfOfClassZero, "no loss on adversarial images"),
        ("sat", "retemper", ABSLDRule, "no teacher's labels and a loss on natural images"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny, method, slot, rule, why):
    with pytest.raises(BadInput, match=why):
        tiny.method(method, slots={slot: rule})


def test_a_slot_can_be_emptied(tiny):
    assert tiny.method("absld", slots={"retemper": None}).filled_slots() == {}


def test_registries_and_names_agree():
    assert {name: cls.name for name, cls in METHODS.items()} == {name: name for name in METHODS}
    assert {name: cls.name for name, cls in CLASS_RULES.items()} == {name: name for name in CLASS_RULES}


def test_change_leaves_what_is_undefined():
    buffer = torch.tensor([1.0, 2.0])
    ClassRule.change(buffer, torch.tensor([torch.nan, 5.0], dtype=torch.float64))
    assert buffer.tolist() == [1.0, 5.0]


@pytest.mark.parametrize("name", CLASS_RULES)
def test_a_rule_that_does_nothing_in_the_first_epoch_says_when_it_begins(tiny, name):
    """A training with fewer epochs than that is warned of (`fairbench.training.schedule.too_short`)."""
    rule, y = CLASS_RULES[name](4), torch.arange(4)
    rows = {"index": range(4), "label": range(4)}
    tables = [Outcomes.of_columns("natural", **rows, prediction=range(4))]
    if rule.validation_attack:
        tables.append(Outcomes.of_columns(rule.validation_attack, **rows, prediction=[0, 1, 2, 0]))
    rule.fill(tuple(slot for slot in SLOTS if rule.fills(slot)))
    rule.begin_epoch(EpochState(0, 1, 1.0, Outcomes.concat(tables), {name: np.array([1.0, 2.0, 3.0, 4.0])}))
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    effects = []
    if "reweight" in rule.slots:
        effects += [rule.weight(y, term, {"natural": logits, "robust": logits}) for term in ("natural", "robust")]
    if "remargin" in rule.slots:
        effects += rule.radius(y, torch.full((4,), 0.1), torch.full((4,), 0.01))
    if "retemper" in rule.slots:
        effects += [rule.temperature(y, term) for term in ("natural", "robust")]
    assert effects
    acts = any(effect.max() > effect.min() for effect in effects)
    assert acts or min(rule.starts().values()) > 0
