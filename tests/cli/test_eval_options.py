"""`fairbench eval` refuses every wrong option in one sentence."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--attacks", "pdg20"), "Did you mean 'pgd20'"),
        (("--attacks", "pgd20(step=3)"), "Did you mean 'step_size'"),
        (("--attacks", "fgsm,fgsm"), "twice"),
        (("--attacks", ""), "--attacks is empty"),
        (("--eps", ""), "--eps is empty"),
        (("--eps", "8"), "8/255"),
        (("--eps", "nan"), "decimal or a fraction"),
        (("--eps", "-0.1"), "of at least 0, such as 0.03 or 8/255, but is '-0.1'"),
        (("--eps", "-8/255"), "of at least 0, such as 0.03 or 8/255, but is '-8/255'"),
        (("--attacks", "tpgd20(T=-1)"), "T of tpgd must be a decimal or a fraction of at least 0, such as 0.5 or 10"),
        (("--attacks", "pgd20(step_size=-1)"), "of at least 0, such as 0.03 or 8/255, but is '-1'"),
        (("--worst-below", "-1"), "--worst-below must be a decimal or a fraction of at least 0, such as 0.25"),
        (("--find-worst", "--confidence", "-1"), "of at least 0, such as 0.95, but is '-1'"),
        (("--find-worst", "--confidence", "95"), "--confidence must lie between 0 and 1, such as 0.95, but is '95'"),
        (("--norm", "l3"), "unknown norm"),
        (("--norm", "L2"), "no default radius"),
        (("--norm", "l1", "--eps", "1", "--attacks", "fgsm"), "the run's norm is L1"),
        (("--dataset", "cifar"), "Did you mean 'cifar10'"),
        (("--dataset", ""), "--dataset is empty"),
        # Neither a wrong architecture nor missing files: no MNIST lies here.
        (("--dataset", "mnist"), "was trained on digits (images of 1x8x8, 10 classes), but the data set asked for is"),
        (("--dataset", "cifar100"), "asked for is cifar100 (images of 3x32x32, 100 classes); use the data set that it"),
        (("--model", "smal-cnn"), "small-cnn"),
        (("--normalize", "cifra10"), "unknown normalisation"),
        (("--engine", "natvie"), "Did you mean 'native'"),
        (("--precision", "fp16"), "unknown precision"),
        (("--device", "cuda:77"), "device"),
        (("--samples-per-class", "0"), "--samples-per-class must be a whole number of at least 1, but is '0'"),
        (("--samples-per-class", "-3"), "--samples-per-class must be a whole number of at least 1, but is '-3'"),
        (("--samples-per-class", "ten"), "--samples-per-class must be a whole number of at least 1, but is 'ten'"),
        (("--batch-size", "1.5"), "--batch-size must be a whole number of at least 1, but is '1.5'"),
        (("--threads", "0"), "--threads must be a whole number of at least 1, but is '0'"),
        (("--seed", "-1"), "--seed must be a whole number of at least 0, but is '-1'"),
        (("--accept", "everything"), "unknown check"),
        (("--accept", "left-ball"), "cannot be accepted"),
        (("--accept", ""), "--accept is empty"),
        (("--resize", "4"), "resize"),
        (("--out", ""), "--out is empty"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_bad_options(arguments, words, checkpoint, bad):
    assert words in bad(checkpoint, *arguments)
