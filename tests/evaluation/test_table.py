from __future__ import annotations

import numpy as np
import pytest
import torch

from fairbench.attacks import attack_function, parse_attack
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.table import attack_table, eval_mode
from fairbench.sample_random import SampleRandom


def rows(model, dataset, attacks, threat, **options):
    return attack_table(model, dataset, attacks, threat=threat, **{"seed": 0, "batch_size": 16, **options})


def test_each_attack_and_natural_have_a_row_per_sample(model, dataset, threat):
    found = rows(model, dataset, ["pgd5", "fgsm"], threat)
    assert found.attacks == ("natural", "fgsm", "pgd5")
    for attack in found.attacks:
        assert found.of(attack)["index"].tolist() == sorted(dataset.index)
    assert found.robust("natural").sum() == 40
    assert 0 < found.robust("pgd5").sum() < found.robust("natural").sum()
    assert (found.of("natural")["distance"] == 0).all()
    assert found.of("pgd5")["linf"].between(0.05, 0.1 + 1e-6).all()


def test_verdicts_are_those_of_the_attack_function(model, dataset, threat):
    order = np.argsort(dataset.index)
    x, y = dataset.x[order], torch.as_tensor(dataset.y[order])
    random = SampleRandom(0, "pgd5", torch.as_tensor(dataset.index[order]))
    x_adv = attack_function(parse_attack("pgd5"), threat)(model, x, y, eps=threat.eps, random=random)
    expected = (model(x_adv).argmax(1) == y).numpy()
    assert rows(model, dataset, ["pgd5"], threat, batch_size=45).robust("pgd5").tolist() == expected.tolist()


def test_order_of_samples_does_not_matter(model, dataset, threat):
    shuffled = dataset.take(np.random.default_rng(1).permutation(45), selection="all")
    assert (
        rows(model, shuffled, ["pgd5"], threat).to_bytes() == rows(model, dataset, ["pgd5"], threat).to_bytes()
    )  # fmt: skip


def test_block_sizes_agree_to_rounding(model, dataset, threat):
    tables = [rows(model, dataset, ["pgd5"], threat, batch_size=size).of("pgd5") for size in (1, 7, 45)]
    for other in tables[1:]:
        assert (other["prediction"] == tables[0]["prediction"]).all()
        np.testing.assert_allclose(other["margin"], tables[0]["margin"], atol=1e-3)


def test_the_model_comes_back_as_it_was(model, dataset, threat):
    expected = rows(model, dataset, ["fgsm"], threat).to_bytes()
    model.append(torch.nn.Dropout(0.9))
    model.train()
    model[0].eval()
    assert rows(model, dataset, ["fgsm"], threat).to_bytes() == expected, "attacked in eval mode"
    assert [module.training for module in model.modules()] == [True, False, True, True, True, True]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_eval_mode_restores_after_an_error(model):
    model.train()
    with pytest.raises(RuntimeError, match="stop"), eval_mode(model):
        raise RuntimeError("stop")
    assert model.training


def test_without_attacks_only_natural_rows(model, dataset, threat):
    assert rows(model, dataset, [], threat).attacks == ("natural",)


def test_nan_weights_are_refused(model, dataset, threat):
    model[3].weight.data[0, 0] = float("nan")
    with pytest.raises(Refused) as error:
        rows(model, dataset, ["fgsm"], threat)
    assert error.value.check == "nan-logits"


def test_an_attack_that_fails_is_not_scored(model, dataset, threat, monkeypatch):
    """A crash must never count as robustness."""

    def broken(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("fairbench.evaluation.units.attack_function", lambda config, threat: broken)
    with pytest.raises(ZeroDivisionError):
        rows(model, dataset, ["fgsm"], threat)


def test_an_attack_that_cheats_is_refused(model, dataset, threat, monkeypatch):
    def far(model, x, y, **options):
        return (x + 0.2).clamp(0, 1)

    monkeypatch.setattr("fairbench.evaluation.units.attack_function", lambda config, threat: far)
    with pytest.raises(Refused, match="'fgsm' left the threat model"):
        rows(model, dataset, ["fgsm"], threat)


def test_a_planted_pgd_of_two_steps_changes_verdicts(model, dataset, threat, monkeypatch):
    honest = rows(model, dataset, ["pgd20"], threat)
    real = attack_function

    def lazy(config, threat):
        return real(parse_attack("pgd2"), threat)

    monkeypatch.setattr("fairbench.evaluation.units.attack_function", lazy)
    planted = rows(model, dataset, ["pgd20"], threat)
    assert planted.robust("pgd20").sum() > honest.robust("pgd20").sum()


def test_unknown_attacks_are_refused(model, dataset, threat):
    with pytest.raises(BadInput, match="unknown attack"):
        rows(model, dataset, ["pdg20"], threat)
