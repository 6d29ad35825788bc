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
        (("--eps", "-0.1"), "decimal or a fraction"),
        (("--norm", "l3"), "unknown norm"),
        (("--norm", "L2"), "no default radius"),
        (("--norm", "l1", "--eps", "1", "--attacks", "fgsm"), "the run's norm is L1"),
        (("--dataset", "cifar"), "Did you mean 'cifar10'"),
        (("--dataset", ""), "--dataset is empty"),
        (("--model", "smal-cnn"), "small-cnn"),
        (("--normalize", "cifra10"), "unknown normalisation"),
        (("--engine", "natvie"), "Did you mean 'native'"),
        (("--precision", "fp16"), "unknown precision"),
        (("--device", "cuda:77"), "device"),
        (("--samples-per-class", "0"), "samples-per-class"),
        (("--batch-size", "0"), "batch-size"),
        (("--threads", "0"), "threads"),
        (("--seed", "-1"), "seed"),
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
