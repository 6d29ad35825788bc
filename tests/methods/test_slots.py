"""What a class rule does in the slots that it fills, and what would change nothing and is refused."""

from __future__ import annotations

import pytest
import torch

from fairbench.errors import BadInput
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.methods.absld import ABSLD
from fairbench.methods.cfa import CFARule
from fairbench.methods.class_rule import SLOTS
from fairbench.methods.dafa import DAFARule
from fairbench.methods.frl import FRL, FRLRule
from fairbench.methods.trades import TRADES


def host(tiny, name, hyper, slots):
    cls = METHODS[name]
    roles = (*cls.roles, *(["natural"] if hyper.get("variant") == "II" else []))
    return cls(4, eps=0.1, teachers={role: tiny.network(7) for role in roles}, slots=slots, **hyper)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [("ard", {}), ("fair-ard", {}), ("adaad", {}), ("iad", {}), ("iad", {"variant": "II", "alpha": 0.5})],
)
def test_a_weight_on_a_loss_that_does_not_count_is_refused(tiny, name, hyper):
    """DAFA weighs the natural loss alone, whose coefficient 1 - alpha is 0 at these methods' defaults."""
    with pytest.raises(BadInput, match=f"--reweight dafa weighs loss on natural images alone.*'{name}'"):
        host(tiny, name, hyper, {"reweight": DAFARule})


@pytest.mark.parametrize(
    ("name", "hyper"),
    [("ard", {"alpha": 0.5}), ("adaad", {"alpha": 0.9}), ("iad", {"alpha": 0.5}), ("sat", {}), ("rslad", {})],
)
def test_a_weight_on_a_loss_that_counts_moves_the_gradient(tiny, name, hyper):
    method = host(tiny, name, hyper, {"reweight": DAFARule})
    network, batch = tiny.network(), tiny.batch()
    attacked = method.attack(network, batch, tiny.random(batch))
    before = method.loss(network, attacked).total.item()
    method.rules["dafa"].class_weight.copy_(torch.tensor([2.0, 0.5, 1.0, 0.7]))
    assert method.loss(network, attacked).total.item() != pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_idle_terms_are_those_that_change_nothing(tiny, name):
    """Doubling the rows of a loss on its way into `reduce` moves the total, unless the method calls the loss idle."""
    method = host(tiny, name, {}, {})
    network, batch = tiny.network(), tiny.batch()
    attacked = method.attack(network, batch, tiny.random(batch))
    before, reduce = method.loss(network, attacked).total.item(), method.reduce
    for doubled in {"natural", "robust"} & set(method.gives):

        def twice(y, terms, logits, doubled=doubled):
            return reduce(y, {k: (c, 2 * t if k == doubled else t) for k, (c, t) in terms.items()}, logits)

        method.reduce = twice
        changed = method.loss(network, attacked).total.item() != pytest.approx(before, rel=1e-6)
        assert changed == (doubled not in method.idle_terms()), doubled


def test_frl_is_frlrw_where_it_only_weighs(tiny):
    """Without re-margining the tolerance is .1 and no exponent moves: frlrw.py instead of frlrmrw.py."""
    both = {"reweight": FRLRule, "remargin": FRLRule}
    assert ABSLD(4, eps=0.1, teachers={"robust": tiny.network()}, slots=both).hyper()["frl.variant"] == (
        "reweight+remargin"
    )
    alone = ABSLD(4, eps=0.1, teachers={"robust": tiny.network()}, slots={"reweight": FRLRule})
    assert alone.hyper()["frl.variant"] == "reweight"
    assert FRL(4, eps=0.1).hyper()["frl.variant"] == "reweight+remargin"
    assert TRADES(4, eps=0.1, slots={"remargin": FRLRule}).hyper()["frl.variant"] == "reweight+remargin"
    with pytest.raises(BadInput, match="would leave every radius as it is"):
        TRADES(4, eps=0.1, slots={"remargin": FRLRule}, variant="reweight")


def test_what_belongs_to_an_empty_slot_is_not_logged(tiny):
    weights = {"frl.natural_weight", "frl.robust_weight"}
    state = TRADES(4, eps=0.1, slots={"reweight": FRLRule}).class_state()
    assert weights <= set(state)
    assert "frl.radius_factor" not in state
    state = TRADES(4, eps=0.1, slots={"remargin": FRLRule}).class_state()
    assert "frl.radius_factor" in state
    assert not weights & set(state)
    assert "cfa.radius_factor" in TRADES(4, eps=0.1, slots={"remargin": CFARule}).class_state()


@pytest.mark.parametrize("name", CLASS_RULES)
def test_every_rule_names_what_each_of_its_slots_applies(name):
    """So that a benchmark can say whether it moved."""
    rule = CLASS_RULES[name]
    assert set(rule.applied) == {slot for slot in SLOTS if rule.fills(slot)}
    buffers = {key for key, value in rule(4).named_buffers() if value.shape == (4,)}
    for names in rule.applied.values():
        assert names
        assert set(names) <= buffers
