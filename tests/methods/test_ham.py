"""HAM: which images are dropped, their weights, what that saves, and steps without survivors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.base import Batch, EpochState
from fairbench.methods.ham import HAM
from fairbench.methods.sat import SAT
from fairbench.sample_random import SampleRandom
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

LN2 = math.log(2)
#: Margins .25, .05, .9 and -.05 of the label, class 0: after k steps of .05 they are .1 k smaller, up to the ball's .4.
PIXELS = [[0.6, 0.35], [0.5, 0.45], [0.95, 0.05], [0.45, 0.5]]


@pytest.fixture
def no_noise(monkeypatch):
    monkeypatch.setattr("fairbench.methods.ham.uniform_start", lambda x, eps, random: x)


def mining(num_classes=2, *, eps=0.2, step_share=0.25, **hyper):
    method = HAM(num_classes, eps=eps, step_share=step_share, **hyper)
    method.begin_epoch(EpochState(9, 10, 1.0))
    return method


def attacked(method, pixels_are_logits, pixels=PIXELS):
    student, batch = pixels_are_logits(pixels, pixels, [0] * len(pixels))
    with torch.no_grad():
        return student, method.attack(student, batch, SampleRandom(0, "t", batch.index))


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize(("drop_step", "left"), [(0, [3]), (1, [1, 3]), (2, [1, 3]), (3, [0, 1, 3]), (9, [0, 1, 3])])
def test_keeps_what_so_many_steps_fool(pixels_are_logits, no_noise, variant, drop_step, left):
    """Margin .25 needs 3 steps, .05 one, -.05 none, and .9 more than the ball allows."""
    _, batch = attacked(mining(drop_step=drop_step, variant=variant), pixels_are_logits)
    assert batch.index.tolist() == left
    assert batch.extra["crossed"].tolist() == [{0: 3, 1: 1, 3: 0}[index] for index in left]
    assert_close(batch.extra["share"].tolist(), [len(left) / 4] * len(left))
    assert_close(batch.extra["offered"].sum(0).tolist(), [4.0, 0.0])


def test_survivors_take_all_steps(pixels_are_logits, no_noise):
    """Ten steps of .05 reach the rim of the ball of .2."""
    _, batch = attacked(mining(), pixels_are_logits)
    assert_close(batch.adversarial.flatten(1)[0].tolist(), [0.4, 0.55])


def test_as_released_is_the_iterate_that_counts_in_the_paper_any_before_it(monkeypatch, pixels_are_logits, no_noise):
    """An image that is fooled by one step and no longer by two, as steps of .5 across a boundary can be."""
    verdicts = iter([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])

    def step(model, x_adv, x, *, value, eps, step_size):
        return x_adv, torch.tensor([next(verdicts)])[:1].expand(len(x), -1)

    monkeypatch.setattr("fairbench.methods.ham.linf_step", step)
    _, batch = attacked(mining(drop_step=2, steps=4), pixels_are_logits, PIXELS[:1])
    assert batch.extra["crossed"].tolist() == [1]
    verdicts = iter([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    _, batch = attacked(mining(drop_step=2, steps=4, variant="released"), pixels_are_logits, PIXELS[:1])
    assert len(batch) == 0


def loss_of(method, pixels_are_logits, crossed, share=0.5):
    """Rows with logits (0, 0), which cost ln 2 each, but the first, which costs ln 4."""
    rows = [[0.0, math.log(3)]] + [[0.0, 0.0]] * (len(crossed) - 1)
    student, batch = pixels_are_logits(rows, rows, [0] * len(rows))
    batch = batch.plus(crossed=torch.tensor(crossed), share=torch.full((len(rows),), share, dtype=torch.float64))
    return method.loss(student, batch)


def test_weights_by_hand(pixels_are_logits):
    """slope 5, shift 1, 10 steps: k = 0: (tanh 4 + 1) / 2, k = 3: (tanh 1 + 1) / 2, scaled to a mean of 1.

    tanh 4 = .999329, tanh 1 = .761594: .999665 and .880797, mean .940231: 1.063212 and .936788.
    """
    step = loss_of(mining(), pixels_are_logits, [0, 3])
    assert_close(step.total.item(), (1.063212 * 2 * LN2 + 0.936788 * LN2) / 2, rtol=1e-5, atol=0)
    assert_close(step.terms["robust"].tolist(), [2 * LN2, LN2])


@pytest.mark.parametrize("hyper", [{"variant": "released"}, {"weighting": "uniform"}])
def test_uniform_weights_and_means_over_survivors_or_batch(pixels_are_logits, hyper):
    """Mean of ln 4 and ln 2; over the batch, of which half survived, half of that."""
    assert_close(loss_of(mining(**hyper), pixels_are_logits, [0, 3]).total.item(), 1.5 * LN2)
    assert_close(loss_of(mining(mean_over="batch", **hyper), pixels_are_logits, [0, 3]).total.item(), 0.75 * LN2)


def results(method, tiny):
    network, batch = tiny.network(), tiny.batch()
    with torch.no_grad():
        batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch, step, [p.grad for p in network.parameters()]


def test_before_the_beginning_it_is_sat_exactly(tiny):
    plain, ham = results(SAT(4, eps=0.1, step_share=7 / 31), tiny), results(HAM(4, eps=0.1), tiny)
    assert torch.equal(plain[0].adversarial, ham[0].adversarial)
    assert torch.equal(plain[1].total, ham[1].total)
    assert all(torch.equal(a, b) for a, b in zip(plain[2], ham[2], strict=True))


def test_beginning_is_a_fraction_of_the_schedule():
    method, begun = HAM(4, eps=0.1), []
    for epoch in range(120):
        method.begin_epoch(EpochState(epoch, 120, 1.0))
        begun.append(bool(method.mining))
    assert begun.index(True) == 50
    assert all(begun[50:])


def test_survivors_have_the_examples_that_sat_gives_them(tiny):
    """Dropping others changes nothing for those that stay."""
    method = mining(4, eps=0.1, step_share=7 / 31, drop_step=2)
    whole, part = results(SAT(4, eps=0.1, step_share=7 / 31), tiny)[0], results(method, tiny)[0]
    assert 0 < len(part) < len(whole)
    assert_close(part.adversarial, whole.adversarial[part.index])


@pytest.mark.parametrize("drop_step", [0, 2, 9])
def test_saved_passes_are_those_that_sat_takes_more(tiny, drop_step):
    """Counted where every pass goes by; without the natural forward of batch norm there is nothing else."""
    counted = []
    for method in (SAT(4, eps=0.1, step_share=7 / 31), mining(4, eps=0.1, step_share=7 / 31, drop_step=drop_step)):
        model = Forward(tiny.network())
        stepper = Stepper(model, method, torch.optim.SGD(model.parameters(), lr=0.1), seed=0)
        assert stepper.take(tiny.batch(), epoch=0, rows=8, gamma=0, totals=EpochTotals())
        counted.append((model.forwards, model.backwards))
    (forwards, backwards), (fewer_forwards, fewer_backwards) = counted
    assert method.saved_forwards == forwards - fewer_forwards > 0
    assert method.saved_backwards == backwards - fewer_backwards > 0


def test_survivor_share_by_hand(pixels_are_logits, no_noise):
    """Three of four images of class 0 in a first step, one of two in a second: 4 / 6; class 1 never appeared: 1."""
    method = mining()
    for pixels in (PIXELS, PIXELS[1:3]):
        student, batch = attacked(method, pixels_are_logits, pixels)
        method.observe(batch, method.loss(student, batch))
    assert_close(method.survivor_share.tolist(), [4 / 6, 1.0])
    assert method.saved_forwards == 2 * 7
    method.begin_epoch(EpochState(9, 10, 1.0))
    student, batch = attacked(method, pixels_are_logits, PIXELS[1:3])
    method.observe(batch, method.loss(student, batch))
    assert_close(method.survivor_share.tolist(), [0.5, 1.0])


@pytest.mark.parametrize("share", ["none", "one"])
def test_a_batch_with_fewer_than_two_survivors_takes_no_step_and_is_counted(tiny, share):
    """With a radius of next to nothing only wrong labels are hard: none, or one of eight."""
    model, batch = Forward(tiny.network()), tiny.batch()
    with torch.no_grad():
        labels = model.eval()(batch.x).argmax(1)
    if share == "one":
        labels[3] = (labels[3] + 1) % 4
    batch = Batch(batch.x, labels, batch.index)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method, totals = mining(4, eps=1e-7), EpochTotals()
    state = {name: value.clone() for name, value in method.state_dict().items()}
    stepper = Stepper(model, method, torch.optim.SGD(model.parameters(), lr=0.1), seed=0)
    assert not stepper.take(batch, epoch=0, rows=8, gamma=0, totals=totals)
    assert totals.skipped == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(state[name], value) for name, value in method.state_dict().items())


def test_without_survivors_no_further_step_is_taken(tiny):
    model, batch = Forward(tiny.network().eval()), tiny.batch()
    batch = Batch(batch.x, model(batch.x).argmax(1), batch.index)
    model.count_from()
    with torch.no_grad():
        left = mining(4, eps=1e-7).attack(model, batch, tiny.random(batch))
    assert len(left) == 0
    assert left.adversarial.shape == (0, 1, 4, 4)
    assert model.forwards == 4 * 8


def test_dropping_after_the_attack_is_refused():
    with pytest.raises(BadInput, match="drop_step must be below steps, but they are 10 and 10"):
        HAM(4, eps=0.1, drop_step=10)
