"""What every method of the registry promises, and every composition with a class rule."""

from __future__ import annotations

import copy
import importlib
import inspect

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods import CLASS_RULES, METHODS
from fairbench.methods.base import EpochState
from fairbench.methods.class_rule import SLOTS
from fairbench.methods.crafting import crafting
from fairbench.outcomes import Outcomes
from fairbench.training.recipe_names import default

#: Long enough for every later start: CFA's with epoch 1, IAD's and HAM's with 2, DAFA's with 4.
EPOCHS = 6
#: Rules whose state of a class is not a mean over its training images: of validation images, or of one batch.
OTHER_STATE = {"frl", "wat", "faal"}


def compositions():
    """Every method, plain and with every rule in every slot that it fits."""
    for name, cls in METHODS.items():
        yield pytest.param(name, {}, id=name)
        idle = cls(4, eps=0.1, teachers={role: torch.nn.Flatten() for role in cls.roles}).idle_terms()
        for slot in SLOTS:
            for rule_name, rule in CLASS_RULES.items():
                needs = {"remargin": {"robust"}, "retemper": {"teacher"}}.get(slot, set()) | set(rule.needs)
                fits = rule.fills(slot) and needs <= set(cls.gives) and getattr(cls, slot) is not rule
                # A weight on nothing but a loss that does not count is refused (test_slots).
                weighed = rule(4).weighs([term for term in ("natural", "robust") if term in cls.gives])
                if fits and not (slot == "reweight" and set(weighed) <= idle):
                    # Some two hundred compositions: minutes, so the plain methods are the default tier.
                    marks = pytest.mark.slow
                    yield pytest.param(name, {slot: rule}, id=f"{name}+{slot}-{rule_name}", marks=marks)


pytestmark = pytest.mark.parametrize(("name", "slots"), list(compositions()))


def state_of(module):
    return copy.deepcopy(module.state_dict())


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def epoch_state(method, epoch=0):
    """What the loop would hand over before an epoch of EPOCHS."""
    rows = {"index": range(8), "label": [0, 1, 2, 3] * 2}
    wrong = [0, 1, 2, 0] * 2
    tables = [Outcomes.of_columns("natural", **rows, prediction=rows["label"], loss=[0.1] * 8)]
    tables += [Outcomes.of_columns(name, **rows, prediction=wrong) for name in sorted(method.validation_attacks())]
    generator = torch.Generator().manual_seed(epoch)
    natural, robust = torch.randn(2, 8, 4, generator=generator)
    label, columns = torch.tensor(rows["label"]), {}
    for attack in method.term_attacks():
        terms = method.validation_terms(attack, label, natural, robust)
        columns |= {name: value.double().numpy() for name, value in terms.items()}
    return EpochState(epoch, EPOCHS, 1.0, Outcomes.concat(tables), columns)


def one_step(tiny, method, network, batch, epoch=0):
    with crafting(network, method.attack_mode):
        batch = method.attack(network, batch, tiny.random(batch, epoch))
    network.train()
    return batch, method.loss(network, batch)


@pytest.mark.parametrize("epoch", [0, EPOCHS - 1], ids=["at first", "later"])
def test_attack_and_loss_change_no_state(tiny, name, slots, epoch):
    """Later is where every rule is at work: what a method would move at first may already be where it moves to."""
    method, network, batch = tiny.method(name, slots=slots), tiny.network().train(), tiny.batch()
    for past in range(epoch):
        method.begin_epoch(epoch_state(method, past))
        method.observe(*one_step(tiny, method, network, tiny.batch(seed=1 + past), past))
    method.begin_epoch(epoch_state(method, epoch))
    before, generator, norms = state_of(method), torch.get_rng_state(), state_of(network)
    with crafting(network, method.attack_mode):
        attacked = method.attack(network, batch, tiny.random(batch))
    assert network.training
    assert same(norms, state_of(network)), "the attack moved batch norm's statistics"
    first = method.loss(network, attacked)
    second = method.loss(network, attacked)
    assert torch.equal(first.total, second.total)
    assert same(before, state_of(method))
    assert torch.equal(generator, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_nothing_carries_a_graph_but_the_total(tiny, name, slots):
    method = tiny.method(name, slots=slots)
    batch, step = one_step(tiny, method, tiny.network(), tiny.batch())
    assert step.total.requires_grad
    assert step.total.ndim == 0
    assert not any(v.requires_grad for v in [*batch.extra.values(), *step.terms.values(), *step.logits.values()])
    assert all(v.shape[0] == len(batch) for v in [*batch.extra.values(), *step.terms.values(), *step.logits.values()])
    assert set(step.logits) <= {"natural", "robust"}
    assert {"natural", "robust"} & set(type(method).gives) <= set(step.terms)


def test_gradients_reach_the_student_only(tiny, name, slots):
    """Not even a teacher that somebody forgot to freeze gets one."""
    method, network = tiny.method(name, slots=slots), tiny.network()
    weights = [p for teacher in method.teachers.values() for p in teacher.model.parameters()]
    for weight in weights:
        weight.requires_grad_(True)
    _, step = one_step(tiny, method, network, tiny.batch())
    step.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)
    assert all(weight.grad is None for weight in weights)


def test_loss_is_the_sum_of_its_terms_where_no_class_is_weighed(tiny, monkeypatch, name, slots):
    """The sum of coefficient * mean(term), with nothing beside it; what `reduce` gives is what `loss` returns."""
    method, given = tiny.method(name, slots={**slots, "reweight": None}), []

    def reduce(y, terms, logits):
        given.append((terms, type(method).reduce(method, y, terms, logits)))
        return given[-1][1]

    monkeypatch.setattr(method, "reduce", reduce)
    _, step = one_step(tiny, method, tiny.network(), tiny.batch())
    ((terms, reduced),) = given
    assert step is reduced
    means = [(coefficient * term).mean() for coefficient, term in terms.values()]
    assert_close(step.total, torch.stack(means).sum().to(step.total.dtype))
    assert step.total.isfinite()
    assert step.total > 0
    assert set(step.terms) == set(terms)


@pytest.mark.parametrize("y", [[0, 1, 0, 1, 0, 1], [0] * 6 + [3], [2, 2]], ids=["absent", "rare", "one class"])
def test_absent_and_rare_classes(tiny, name, slots, y):
    """Through every later start: all numbers stay finite, and a class that never appears keeps what it had."""
    method, network = tiny.method(name, slots=slots), tiny.network()
    start = {k: v.clone() for k, v in method.class_state().items()}
    absent = [c for c in range(tiny.num_classes) if c not in y]
    steps = 0
    for epoch in range(EPOCHS):
        method.begin_epoch(epoch_state(method, epoch))
        for seed in range(2):
            batch, step = one_step(tiny, method, network, tiny.batch(y, seed=10 * epoch + seed), epoch)
            if len(batch) < 2:  # HAM drops rows; the loop skips such a step
                continue
            assert step.total.isfinite()
            method.observe(batch, step)
            steps += 1
    assert steps >= EPOCHS
    end = method.class_state()
    assert all(v.isfinite().all() for v in end.values())
    for k, v in end.items():
        if k.split(".")[0] not in OTHER_STATE:
            assert torch.equal(v[absent], start[k][absent]), f"{k} of a class that never appeared"


def test_a_class_counts_the_same_however_many_images_it_has(tiny, name, slots):
    """Class 0 three times: means of a class, and what is made of them, are those of its images once."""
    method, often = (tiny.method(name, slots=slots) for _ in range(2))
    once = tiny.batch()
    rows = torch.cat([torch.arange(len(once)), *[(once.y == 0).nonzero().flatten()] * 2])
    for epoch in (0, 4):  # the second is where the last rule to begin, DAFA's, takes its weights
        for of, batch in ((method, once), (often, once.at(rows))):
            of.begin_epoch(epoch_state(of, epoch))
            attacked, step = one_step(tiny, of, tiny.network(batch_norm=False), batch, epoch)
            of.observe(attacked, step)
    state, other = method.class_state(), often.class_state()
    for k in state:
        if k.split(".")[0] not in OTHER_STATE:
            assert_close(other[k], state[k], rtol=0, atol=1e-5, msg=k)
            assert not torch.equal(state[k], tiny.method(name, slots=slots).class_state()[k]), f"{k} never moved"


def test_state_survives_a_state_dict_in_the_middle_of_an_epoch(tiny, name, slots):
    def steps(method, network, batches):
        for batch in batches:
            attacked, step = one_step(tiny, method, network, batch, 1)
            method.observe(attacked, step)

    batches = [tiny.batch(seed=seed) for seed in range(4)]
    whole, network = tiny.method(name, slots=slots), tiny.network()
    whole.begin_epoch(epoch_state(whole, 0))
    steps(whole, network, batches[:2])
    whole.begin_epoch(epoch_state(whole, 1))
    steps(whole, network, batches[2:3])
    resumed, resumed_network = tiny.method(name, slots=slots), copy.deepcopy(network)
    resumed.load_state_dict(state_of(whole))
    for method, student in ((whole, network), (resumed, resumed_network)):
        steps(method, student, batches[3:])
        method.begin_epoch(epoch_state(method, 2))
    assert same(state_of(whole), state_of(resumed))


def test_class_state_is_one_number_per_class(tiny, name, slots):
    state = tiny.method(name, slots=slots).class_state()
    assert all(v.shape == (tiny.num_classes,) for v in state.values())


def test_has_a_card_and_small_file(tiny, name, slots):
    module = importlib.import_module(METHODS[name].__module__)
    for entry in ("Paper", "Official", "Published", "Measured", "Differs"):
        assert f"\n{entry}  " in (module.__doc__ or "")
    for key, value in default("digits", name).hyper.items():
        assert f"{key}={value:g}" in (module.__doc__ or ""), "a default recipe that is not the paper's is in the card"
    assert len(inspect.getsource(module).splitlines()) <= 150


def test_float64_runs_in_float64(tiny, name, slots):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        method, network, batch = tiny.method(name, slots=slots), tiny.network(), tiny.batch()
        batch, step = one_step(tiny, method, network, batch)
    finally:
        torch.set_default_dtype(before)
    assert step.total.dtype == torch.float64
    assert all(v.dtype == torch.float64 for v in step.terms.values())


def test_loss_is_a_mean_over_rows(tiny, name, slots):
    """Two processes with 2 and 6 rows: the weighted sum of their losses is the loss of the whole batch.

    FAAL's weights are those of the whole batch, which takes real processes to see.
    """
    if "faal" in tiny.method(name, slots=slots).rules:
        pytest.skip("its weights depend on the whole batch; see the test with two processes")
    method, network, batch = tiny.method(name, slots=slots), tiny.network(batch_norm=False), tiny.batch()
    with crafting(network, method.attack_mode):
        batch = method.attack(network, batch, tiny.random(batch))
    parts = [method.loss(network, batch.at(torch.arange(8)[rows])).total for rows in (slice(0, 2), slice(2, 8))]
    assert_close(0.25 * parts[0] + 0.75 * parts[1], method.loss(network, batch).total)
