"""`-p attack_mode=train`: the student is attacked in train mode, as the code of ARD, IAD, Fair-ARD and CFA on SAT does.

Batch norm then normalises by the attacked batch, and every pass of the attack moves its statistics.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from fairbench.attacks.linf import uniform_start
from fairbench.methods import METHODS
from fairbench.methods.ard import unclamped_start
from fairbench.methods.crafting import crafting
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

EPS, STEPS = 0.1, 5
#: name, hyper-parameters as released, passes of the loss through the student.
RELEASED = {
    "ard": ("ard", {"clamp_start": False}, 2),
    "ard with a natural loss": ("ard", {"clamp_start": False, "alpha": 0.6}, 2),
    "iad I": ("iad", {"clamp_start": False}, 2),
    "iad II": ("iad", {"clamp_start": False, "variant": "II"}, 2),
    "fair-ard": ("fair-ard", {"clamp_start": False}, 2),
    "cfa on sat": ("cfa", {"variant": "sat"}, 1),
}
every = pytest.mark.parametrize("case", RELEASED)


def build(tiny, case, mode="train"):
    name, hyper, _ = RELEASED[case]
    roles = (*METHODS[name].roles, *(["natural"] if hyper.get("variant") == "II" else []))
    teachers = {role: tiny.network(7 + k) for k, role in enumerate(roles)}
    return METHODS[name](4, eps=EPS, teachers=teachers, steps=STEPS, attack_mode=mode, **hyper)


def attacked(tiny, method, network, batch):
    with crafting(network, method.attack_mode):
        return method.attack(network, batch, tiny.random(batch))


def released_attack(network, x, y, x_adv, eps, step_size):
    """PGD as those scripts write it, on a student that nobody put into eval mode."""
    network.train()
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(x_adv), y), x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    return x_adv


def statistics(network):
    return {name: value.clone() for name, value in network.named_buffers()}


@every
def test_examples_and_statistics_are_those_of_the_released_attack(tiny, case):
    method, network, batch = build(tiny, case), tiny.network(), tiny.batch()
    other = copy.deepcopy(network)
    factor = torch.ones(4)
    if "cfa" in method.rules:  # its radii are its own, its steps are not
        factor = torch.tensor([1.2, 0.8, 1.0, 0.5])
        method.rules["cfa"].radius_factor.copy_(factor)
    eps = EPS * factor[batch.y].view(-1, 1, 1, 1)
    start = unclamped_start if "clamp_start" in RELEASED[case][1] else uniform_start
    first = start(batch.x, eps.flatten(), tiny.random(batch))
    expected = released_attack(other, batch.x, batch.y, first, eps, EPS / 4)
    assert_close(attacked(tiny, method, network, batch).adversarial, expected, rtol=0, atol=1e-6)
    assert network[1].num_batches_tracked == STEPS
    for name, value in statistics(other).items():
        assert_close(statistics(network)[name], value)


@every
def test_in_eval_mode_the_examples_are_others_and_no_statistic_moves(tiny, case):
    batch, networks = tiny.batch(), [tiny.network() for _ in range(2)]
    for network in networks:
        network[1].running_mean += 0.5  # as far from this batch's as in training
    before = statistics(networks[0])
    train, evaluate = (
        attacked(tiny, build(tiny, case, mode), network, batch)
        for mode, network in zip(("train", "eval"), networks, strict=True)
    )
    assert (train.adversarial - evaluate.adversarial).abs().max() > EPS / 4
    assert all(torch.equal(value, before[name]) for name, value in statistics(networks[1]).items())
    assert not torch.equal(networks[0][1].running_mean, before["1.running_mean"])
    assert METHODS[RELEASED[case][0]].attack_mode == "eval"


@every
@pytest.mark.parametrize("training", [True, False])
def test_nothing_moves_but_the_statistics_of_the_student(tiny, case, training):
    method, network, batch = build(tiny, case), tiny.network().train(training), tiny.batch()
    network[0].eval()  # a frozen layer of a network in training stays one
    modes = [module.training for module in network.modules()]
    weights = [p.detach().clone() for p in network.parameters()]
    state, generator = copy.deepcopy(method.state_dict()), torch.get_rng_state()
    teachers = {role: copy.deepcopy(teacher.model.state_dict()) for role, teacher in method.teachers.items()}
    after = attacked(tiny, method, network, batch)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(p, weight) for p, weight in zip(network.parameters(), weights, strict=True))
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(value.requires_grad for value in [after.adversarial, *after.extra.values()])
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    for role, teacher in method.teachers.items():
        assert not any(module.training for module in teacher.model.modules())
        assert all(torch.equal(value, teachers[role][name]) for name, value in teacher.model.state_dict().items())


@every
@pytest.mark.parametrize("gamma", [0.0, 0.01])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_step_moves_them_with_each_pass_of_its_attack_too(tiny, case, mode, gamma):
    """With `attack_mode=train` STEPS times more; the extra pass of weight perturbation does not count."""
    method, network, batch = build(tiny, case, mode), tiny.network(), tiny.batch()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    stepper = Stepper(Forward(network), method, optimiser, seed=0)
    assert stepper.take(batch, epoch=0, rows=len(batch), gamma=gamma, totals=EpochTotals())
    passes = RELEASED[case][2] + (STEPS if mode == "train" else 0)
    assert network[1].num_batches_tracked == passes
    assert network.training


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_attacked_in_train_mode(tiny, name):
    method, network, batch = tiny.method(name, attack_mode="train"), tiny.network(), tiny.batch()
    after = attacked(tiny, method, network, batch)
    step = method.loss(network.train(), after)
    assert step.total.isfinite()
    if "robust" in method.gives:
        distance = (after.adversarial - batch.x).abs().max()
        assert 0 < distance <= EPS + 1e-6
        assert network[1].num_batches_tracked > STEPS
