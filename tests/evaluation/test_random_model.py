"""Models with noise of their own: refused by default; with --allow-random a majority of 20 keyed draws decides."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.errors import BadInput, Refused
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.random_model import DRAWS, RandomJudge, RandomModel, majority

RAND = "aa(version=rand,steps=4)"


class Noisy(nn.Module):
    """Adds normal noise to the pixels at every forward, from the generator that `source` names."""

    def __init__(self, network, scale=0.1, source="torch"):
        super().__init__()
        self.network, self.scale, self.source = network, scale, source

    def forward(self, x):
        if self.source == "numpy":
            noise = torch.from_numpy(np.random.randn(*x.shape)).to(x)  # noqa: NPY002
        elif self.source == "python":
            noise = torch.full_like(x, random.gauss(0, 1))
        else:
            noise = torch.randn_like(x)
        return self.network(x + self.scale * noise)


def run_of(model, dataset, attacks=("pgd3", RAND), **options):
    return evaluate(model, dataset, attacks, **{"eps": "0.1", "batch_size": 16, "allow_random": True, **options})


def test_a_random_model_is_refused_unless_it_is_allowed(model, dataset):
    with pytest.raises(Refused, match="--allow-random") as error:
        run_of(Noisy(model).eval(), dataset, allow_random=False)
    assert error.value.check == "non-deterministic"
    with pytest.raises(BadInput, match="forwards of the same images agree"):
        run_of(model, dataset)
    with pytest.raises(BadInput, match=r"aa\(version=rand\)"):
        run_of(Noisy(model).eval(), dataset, attacks="aa")


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_the_same_bytes_again_and_the_global_generators_as_they_were(source, model, dataset, tmp_path):
    noisy = Noisy(model, source=source).eval()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    runs = [run_of(noisy, dataset, out=tmp_path / name) for name in "ab"]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert (tmp_path / "a" / "outcomes.parquet").read_bytes() == (tmp_path / "b" / "outcomes.parquet").read_bytes()
    other = run_of(noisy, dataset, seed=1)
    assert not other.outcomes.of("pgd3")["loss"].equals(runs[0].outcomes.of("pgd3")["loss"])
    assert list(runs[0].record["attacks"][RAND]["parts"]) == ["apgd-ce", "apgd-dlr"]
    assert [flag["name"] for flag in runs[0].record["flags"]][:1] == ["random-model"]


def test_attacks_break_more_than_noise_alone(model, dataset):
    outcomes = run_of(Noisy(model, scale=0.02).eval(), dataset).outcomes
    assert outcomes.robust(RAND).sum() < outcomes.robust("natural").sum()
    assert (outcomes.robust(RAND) <= outcomes.robust(f"{RAND}/apgd-ce")).all()


def test_the_majority_of_draws_decides_and_a_tie_counts_as_right():
    """Label 0 of 3 classes, 20 draws; each draw's logit is 2 at its vote.

    Sample 0: 10 right, 10 wrong: not more than half err. Sample 1: 9 right, 6 votes for 2, 5 for 1: class 2.
    Its mean margin is (9 * 2 - 11 * 2) / 20 = -0.2.
    """
    votes = torch.tensor([[0] * 10 + [1] * 10, [0] * 9 + [2] * 6 + [1] * 5]).T
    draws = 2.0 * nn.functional.one_hot(votes, 3).float()
    prediction, loss, margin = majority(draws, torch.zeros(2, dtype=torch.long))
    assert prediction.tolist() == [0, 2]
    assert margin.tolist() == pytest.approx([0.0, -0.2])
    right, wrong = np.log(np.exp(2) + 2) - 2, np.log(np.exp(2) + 2)
    assert loss.tolist() == pytest.approx([(right + wrong) / 2, (9 * right + 11 * wrong) / 20])


def test_each_forward_of_a_block_has_its_own_key(model):
    noisy = RandomModel(Noisy(model).eval(), seed=0).eval()
    x, index = torch.rand(3, 1, 6, 6), torch.tensor([4, 7, 9])
    noisy.begin("pgd", x, index)
    first, second = noisy(x), noisy(x)
    assert not torch.equal(first, second)
    noisy.begin("pgd", x, index)
    assert torch.equal(noisy(x), first)
    for unit, start in (("cw", 4), ("pgd", 5)):
        noisy.begin(unit, x, torch.tensor([start, 7, 9]))
        assert not torch.equal(noisy(x), first)


def test_verdicts_draw_the_same_for_a_sample_whoever_asks_and_whoever_is_left(model):
    judge = RandomJudge(Noisy(model).eval(), seed=0).eval()
    x, index = torch.rand(3, 1, 6, 6), torch.tensor([4, 7, 9])
    judge.begin("natural", x, index)
    first = judge.draws(x, index)
    assert first.shape == (DRAWS, 3, 5)
    assert not torch.equal(first[0], first[1])
    judge.begin("pgd", x, index)
    judge(x)
    assert torch.equal(judge.draws(x[1:], index[1:]), first[:, 1:])
    other = RandomJudge(judge.network, seed=1).eval()
    other.begin("natural", x, index)
    assert not torch.equal(other.draws(x, index), first)


def test_an_attack_that_moves_nothing_breaks_nothing(model, dataset):
    """Of many samples near the boundary, new tosses would break some in every part."""
    attacks = ["fgsm", "aa(version=rand,steps=1)"]
    outcomes = run_of(Noisy(model, scale=0.3).eval(), dataset, attacks, eps="0", accept=["low-accuracy"]).outcomes
    natural = outcomes.robust("natural")
    assert 0 < natural.sum() < len(natural)
    for attack in outcomes.attacks:
        assert outcomes.robust(attack).tolist() == natural.tolist(), attack


def test_a_sample_that_leaves_is_broken_at_the_end(model, dataset, monkeypatch):
    """Whoever the part takes for broken on its way is broken in the table."""
    left = []
    honest = RandomJudge.errs

    def watched(judge, x, y, index):
        found = honest(judge, x, y, index)
        left.extend(index[found].tolist())
        return found

    monkeypatch.setattr(RandomJudge, "errs", watched)
    outcomes = run_of(Noisy(model).eval(), dataset, attacks=[RAND]).outcomes
    broken = outcomes.of(RAND).set_index("index")
    assert left
    assert (broken.loc[left, "prediction"] != broken.loc[left, "label"]).all()
