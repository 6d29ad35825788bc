from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fairbench
from fairbench.data.dataset import ArrayDataset
from fairbench.errors import Refused
from fairbench.evaluation.natural_accuracy import check_accuracy, check_natural
from fairbench.evaluation.trust import Trust
from fairbench.models.normalize import candidates

ROOT = Path(__file__).resolve().parents[2]

CPU = torch.device("cpu")


def natural_rows(correct, count, num_classes=10):
    y = np.arange(count) % num_classes
    prediction = np.where(
        np.arange(count) < correct, y, (y + 1 + np.arange(count) // num_classes % (num_classes - 1)) % num_classes
    )
    return y, prediction


@pytest.mark.parametrize(
    ("correct", "count", "num_classes", "bad"),
    [
        # The bar for 10 classes is .19: P(X <= 100 | 1000, .19) is tiny; 276 of 1,000 is a weak model, not a mistake.
        (100, 1000, 10, True), (160, 1000, 10, True), (190, 1000, 10, False), (276, 1000, 10, False),
        # 10 images cannot tell: P(X <= 0 | 10, .19) = .12. From 22 on, none right is below .01 (.81^22 = .0097).
        (0, 10, 10, False), (0, 21, 10, False), (0, 22, 10, True),
        # Two classes: the bar is .55; P(X <= 500 | 1000, .55) = .0009, P(X <= 520) = .03.
        (500, 1000, 2, True), (520, 1000, 2, False),
        # 100 classes: the bar is .02; P(X <= 9 | 1000, .02) = .005.
        (9, 1000, 100, True), (20, 1000, 100, False),
    ],
)  # fmt: skip
def test_low_accuracy_is_an_exact_binomial_test(correct, count, num_classes, bad):
    rows = natural_rows(correct, count, num_classes)
    if bad:
        with pytest.raises(Refused) as error:
            check_accuracy(*rows, num_classes, Trust())
        assert error.value.check == "low-accuracy"
    else:
        check_accuracy(*rows, num_classes, Trust())


class Threshold(nn.Module):
    """Class 1 where the first pixel is above 0, which needs pixels shifted by a mean."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0]], 1)


def mostly_bright(count):
    """Of 10 images 7 are bright, so that a network that says "bright" to all is no network near chance."""
    x = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0, 0, 0] > 0.3).long()
    return ArrayDataset(x, y, class_names=["dark", "bright"])


def test_a_normalisation_that_raises_accuracy_is_refused_and_named():
    choices = {"shift": ((0.3,), (0.2,)), "other": ((0.9,), (0.2,))}
    trust = Trust()
    with pytest.raises(Refused, match="--normalize shift, or --normalize none") as error:
        check_natural(Threshold(), mostly_bright(200), choices, trust, CPU)
    assert error.value.check == "normalize"
    accepted = Trust(["normalize"])
    check_natural(Threshold(), mostly_bright(200), choices, accepted, CPU)
    assert [flag["name"] for flag in accepted.flags] == ["normalize"]


def test_few_images_or_small_gains_do_not_refuse():
    choices = {"shift": ((0.3,), (0.2,))}
    # 12 images: the few dark ones are gained; 10 discordant pairs would be needed for p < .001.
    few = mostly_bright(12)
    assert 2 <= (few.y == 0).sum() < 10
    check_natural(Threshold(), few, choices, Trust(), CPU)
    # A shift that changes few verdicts: pixels in (0, .01].
    check_natural(Threshold(), mostly_bright(1000), {"near": ((0.015,), (1.0,))}, Trust(), CPU)


def test_the_normalisation_check_looks_at_a_thousand_stratified_images():
    seen = []

    class Counting(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0] - 0.3], 1)

    dataset = mostly_bright(3000)
    check_natural(Counting(), dataset, {}, Trust(), CPU)
    assert sum(seen) == 1000


class Swapped(nn.Module):
    """Right about everything, with the two classes' names exchanged."""

    def forward(self, x):
        return torch.stack([x[:, 0, 0, 0] - 0.3, torch.zeros(len(x))], 1)


def test_a_wrong_order_of_classes_is_found_however_few_samples_are_attacked():
    """One sample of each class cannot tell; the whole split can."""
    whole = mostly_bright(1000)
    check_natural(Swapped(), whole.first_per_class(1), {}, Trust(), CPU)
    with pytest.raises(Refused, match="in another order") as error:
        check_natural(Swapped(), whole, {}, Trust(), CPU)
    assert error.value.check == "low-accuracy"


def test_a_persons_own_images_are_tried_with_usual_normalisations():
    """A network that is right on normalised digits, given pixels, under a name that no registry knows."""
    digits = fairbench.load_dataset("digits")
    trained = fairbench.load_model(ROOT / "checkpoints" / "digits-natural.pt")
    unpack = nn.Conv2d(1, 1, 1)
    nn.init.constant_(unpack.weight, 0.3081)
    nn.init.constant_(unpack.bias, 0.1307)
    network = nn.Sequential(unpack, trained).eval()
    x, y = digits.pixels(np.arange(len(digits))), digits.y
    with pytest.raises(Refused, match="--normalize mnist") as error:
        fairbench.evaluate(network, x, y=y, attacks="fgsm", eps="0.1")
    assert error.value.check == "normalize"
    assert candidates("mine", 3).keys() == {"cifar10", "imagenet", "half"}
    assert candidates("mine", 5) == {}
