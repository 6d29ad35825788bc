"""IAD-I and IAD-II: losses by hand, when introspection begins, and their teachers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.base import EpochState
from fairbench.methods.iad import IAD

LN2, LN3 = math.log(2), math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def iad(variant="I", *, begun=True, **hyper):
    roles = ("robust",) if variant == "I" else ("robust", "natural")
    method = IAD(2, eps=0.1, teachers={role: torch.nn.Flatten() for role in roles}, variant=variant, **hyper)
    method.begin_epoch(EpochState(9 if begun else 0, 10, 1.0))
    return method


def trusting_half(pixels_are_logits):
    """The student says (3/4, 1/4) of x and (1/2, 1/2) of x_adv; y = 0.

    The teacher says (3/4, 1/4) of x and (1/2, 1/2) of x_adv, so that with beta = 1 it is trusted by a = 1/2; the second
    teacher says (3/4, 1/4) of x_adv. own = KL(f(x) || f(x_adv)) = 0.130812.
    """
    return pixels_are_logits(
        [[LN3, 0.0]], [[0.0, 0.0]], [0],
        robust_x=[[LN3, 0.0]], robust_x_adv=[[0.0, 0.0]], natural_x_adv=[[LN3, 0.0]],
    )  # fmt: skip


def test_variant_one_by_hand(pixels_are_logits):
    """KL(t(x) || f(x_adv)) is counted in full, own by half."""
    student, batch = trusting_half(pixels_are_logits)
    assert_close(iad(beta=1).loss(student, batch).total.item(), 1.5 * KL)
    assert_close(iad(beta=1, alpha=0.6).loss(student, batch).total.item(), 0.6 * 1.5 * KL + 0.4 * math.log(4 / 3))


def test_variant_two_by_hand(pixels_are_logits):
    """.25 ln 2 + .5 (.5 * 0 + .5 own) + .25 KL((3/4, 1/4) || (1/2, 1/2)): the teacher agrees on x_adv."""
    student, batch = trusting_half(pixels_are_logits)
    assert_close(iad("II", beta=1).loss(student, batch).total.item(), 0.25 * LN2 + 0.25 * KL + 0.25 * KL)


def test_variant_two_trusts_the_robust_teacher_in_part(pixels_are_logits):
    """The student says (3/4, 1/4) of both images, so own = 0; the teacher (1/2, 1/2) of x_adv, trusted by half, costs
    KL((1/2, 1/2) || (3/4, 1/4)) = 0.143841; the second one agrees: .25 ln(4/3) + .5 * .5 * 0.143841.
    """
    student, batch = pixels_are_logits(
        [[LN3, 0.0]], [[LN3, 0.0]], [0], robust_x_adv=[[0.0, 0.0]], natural_x_adv=[[LN3, 0.0]]
    )
    guide = 0.5 * math.log(2 / 3) + 0.5 * LN2
    expected = 0.25 * math.log(4 / 3) + 0.25 * guide
    assert_close(iad("II", beta=1).loss(student, batch).total.item(), expected)
    before = iad("II", beta=1, begun=False).loss(student, batch).total.item()
    assert_close(before, 0.25 * math.log(4 / 3) + 0.5 * guide)


def test_temperatures_of_variant_two(pixels_are_logits):
    """T = 2: both sides are softened, T^2 = 4 multiplies every divergence, and own is not softened.

    f(x_adv) = (0, 0); t(x_adv) = (2 ln 3, 0), softened (3/4, 1/4), trusted by p = 9/10; n(x_adv) the same.
    """
    student, batch = pixels_are_logits(
        [[LN3, 0.0]], [[0.0, 0.0]], [0], robust_x_adv=[[2 * LN3, 0.0]], natural_x_adv=[[2 * LN3, 0.0]]
    )
    expected = 0.25 * LN2 + 0.5 * (0.9 * 4 * KL + 4 * 0.1 * KL) + 0.25 * 4 * KL
    assert_close(iad("II", beta=1, temperature=2).loss(student, batch).total.item(), expected)


def test_the_student_is_softened_too(pixels_are_logits):
    """f = (2 ln 3, 0) of both images, p = (9/10, 1/10), softened (3/4, 1/4); the teachers say (1/2, 1/2): own = 0, and
    each guide is 4 * 0.143841; trust is 1/2.
    """
    student, batch = pixels_are_logits(
        [[2 * LN3, 0.0]], [[2 * LN3, 0.0]], [0], robust_x_adv=[[0.0, 0.0]], natural_x_adv=[[0.0, 0.0]]
    )
    guide = 4 * (0.5 * math.log(2 / 3) + 0.5 * LN2)
    expected = 0.25 * math.log(10 / 9) + 0.5 * 0.5 * guide + 0.25 * guide
    assert_close(iad("II", beta=1, temperature=2).loss(student, batch).total.item(), expected)


def test_beta_makes_trust_less_sharp(pixels_are_logits):
    """a = (1/2)^.1 = .933."""
    student, batch = trusting_half(pixels_are_logits)
    assert_close(iad().loss(student, batch).total.item(), KL + (1 - 0.5**0.1) * KL)


def test_before_the_beginning_the_teacher_is_trusted(pixels_are_logits):
    student, batch = trusting_half(pixels_are_logits)
    assert_close(iad(beta=1, begun=False).loss(student, batch).total.item(), KL)
    expected = 0.25 * LN2 + 0.5 * 0 + 0.25 * KL
    assert_close(iad("II", beta=1, begun=False).loss(student, batch).total.item(), expected)


@pytest.mark.parametrize(
    ("variant", "hyper", "first"), [("I", {}, 60), ("II", {}, 40), ("I", {"begin": 0.5}, 100), ("I", {"begin": 0}, 0)]
)
def test_beginning_is_a_fraction_of_the_schedule(variant, hyper, first):
    method = iad(variant, **hyper)
    begun = []
    for epoch in range(200):
        method.begin_epoch(EpochState(epoch, 200, 1.0))
        begun.append(bool(method.exponent > 0))
    assert begun.index(True) == first
    assert all(begun[first:])


def test_gradients_reach_the_student_through_its_own_prediction_of_x(pixels_are_logits):
    """With x and x_adv alike under the shift, d own / d shift is p (log p / q - KL) + (q - p), half of it counts.

    For class 0: p = 3/4, q = 1/2: 3/4 (ln 1.5 - 0.130812) - 1/4 = -.044011; the guide adds q - p = -1/4.
    """
    student, batch = trusting_half(pixels_are_logits)
    iad(beta=1).loss(student, batch).total.backward()
    own = 0.75 * (math.log(1.5) - KL) - 0.25
    assert_close(student.shift.grad[0].item(), -0.25 + 0.5 * own)


def test_each_variant_asks_its_teachers(tiny):
    for variant, roles, extras in (
        ("I", ("robust",), {"robust_x", "robust_x_adv"}),
        ("II", ("robust", "natural"), {"robust_x_adv", "natural_x_adv"}),
    ):
        teachers = {role: tiny.network(7 + k) for k, role in enumerate(roles)}
        method, batch = IAD(4, eps=0.1, teachers=teachers, variant=variant), tiny.batch()
        attacked = method.attack(tiny.network().eval(), batch, tiny.random(batch))
        assert set(attacked.extra) - {"survived"} == extras


def test_the_second_teacher_belongs_to_variant_two(tiny):
    one = {"robust": tiny.network()}
    with pytest.raises(
        BadInput, match=r"variant II .* takes a naturally trained second teacher .* is variant II with robust"
    ):
        IAD(4, eps=0.1, teachers=one, variant="II")
    with pytest.raises(BadInput, match="this is variant I with robust and natural"):
        IAD(4, eps=0.1, teachers=one | {"natural": tiny.network()})
    with pytest.raises(BadInput, match="takes one teacher"):
        IAD(4, eps=0.1)
    with pytest.raises(BadInput, match=r"alpha_1 \+ alpha_2 must be at most 1"):
        IAD(4, eps=0.1, teachers=one, alpha_1=0.9, alpha_2=0.2)
