"""Validation: the same table every time, and the columns that a method computes from logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairbench.attacks import parse_attack
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.class_rule import ClassRule
from fairbench.methods.trades import TRADES
from fairbench.methods.wat import WAT
from fairbench.threat import Threat
from fairbench.training.validation import Validation


class Divergence(ClassRule):
    """Asks for the two losses of TRADES on validation images, as WAT does."""

    name = "divergence"
    validation_attack = "kl3"
    seen = None

    def weight(self, y, term, logits):
        return torch.ones_like(y)

    def validation_terms(self, y, natural, robust):
        return {"ce": cross_entropy(natural, y), "kl": kl_divergence(natural, robust)}

    def begin_epoch(self, state):
        type(self).seen = state


def validation_of(job, **changed):
    options = {"threat": job.threat, "seed": 0, "batch_size": 7, "device": job.device, **changed}
    return Validation(job.validation, ["pgd2", "kl3"], **options)


def test_the_same_table_every_time_and_the_network_as_it_was(tiny):
    job = tiny.job()
    job.network.train()
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    tables = [validation_of(job).outcomes(job.network) for _ in range(2)]
    assert tables[0].attacks == ("natural", "kl3", "pgd2")
    assert tables[0].frame.equals(tables[1].frame)
    assert job.network.training
    assert all(torch.equal(value, before[name]) for name, value in job.network.state_dict().items())


def test_terms_are_those_of_the_same_examples_in_order_of_index(tiny):
    """The natural cross-entropy is the table's natural loss, and both have one number per sample, in one order."""
    job = tiny.job(method_class=TRADES, slots={"reweight": Divergence})
    validation = validation_of(job)
    terms, outcomes = validation.terms(job.network, job.method), validation.outcomes(job.network)
    np.testing.assert_allclose(terms["ce"], outcomes.of("natural")["loss"], rtol=1e-5)
    assert terms["kl"].shape == (20,)
    assert (terms["kl"] >= 0).all()
    # A divergence of zero would mean that no attack was run.
    assert terms["kl"].mean() > 1e-4


class Loss(ClassRule):
    """Reads the robust loss under an attack that comes after the other rule's in the alphabet."""

    name = "loss"
    validation_attack = "pgd2"

    def radius(self, y, eps, step_size):
        return eps, step_size

    def validation_terms(self, y, natural, robust):
        return {"robust": cross_entropy(robust, y)}


def test_each_rule_reads_the_logits_under_its_own_attack(tiny):
    """The loss of the second rule is the table's under pgd2, not under kl3, whatever order the attacks have."""
    job = tiny.job(method_class=TRADES, slots={"reweight": Divergence, "remargin": Loss})
    validation = validation_of(job)
    terms, outcomes = validation.terms(job.network, job.method), validation.outcomes(job.network)
    assert set(terms) == {"ce", "kl", "robust"}
    np.testing.assert_allclose(terms["robust"], outcomes.of("pgd2")["loss"], rtol=1e-4)
    assert abs(terms["robust"] - outcomes.of("kl3")["loss"]).max() > 1e-3


def test_wat_validates_with_its_training_attack(tiny):
    """TRADES's attack with its step of 7/31 of the radius; a radius of 0.31 makes that 0.07."""
    (attack,) = WAT(4, eps=0.31).validation_attacks()
    assert parse_attack(attack).resolved(Threat.parse("Linf", "0.31"), 10)["step_size"] == pytest.approx(0.07)
    job = tiny.job("wat")
    validation = validation_of(job)
    validation.attacks = [attack]
    outcomes = validation.outcomes(job.network)
    assert (outcomes.of(attack)["linf"] <= 0.1 + 1e-6).all()
    assert validation.terms(job.network, job.method)["wat"].mean() > outcomes.of("natural")["loss"].mean()


def test_the_loop_hands_them_to_begin_epoch(tiny):
    tiny.training(tiny.job(method_class=TRADES, slots={"reweight": Divergence}, epochs=1)).run()
    state = Divergence.seen
    assert set(state.terms) == {"ce", "kl"}
    assert len(state.terms["ce"]) == len(state.validation.labels()) == 20
    assert set(state.validation.attacks) == {"natural", "kl3", "pgd2"}


@pytest.mark.parametrize("method", ["sat", "absld"])
def test_methods_without_terms_cost_nothing(tiny, method):
    job = tiny.job(method)
    assert validation_of(job).terms(None, job.method) == {}
