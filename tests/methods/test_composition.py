"""Every method and composition through a whole schedule, with its class rules at work, not only at their start."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch

from fairbench.errors import BadInput
from fairbench.methods.absld import ABSLD
from fairbench.methods.adaad import AdaAD
from fairbench.methods.ard import ARD
from fairbench.methods.base import Batch, EpochState
from fairbench.methods.bat import BAT
from fairbench.methods.cfa import CFA, CFARule
from fairbench.methods.class_reweighted_kd import ClassReweightedKD, RiskWeightRule
from fairbench.methods.crafting import crafting
from fairbench.methods.dafa import DAFA, DAFARule
from fairbench.methods.faal import FAAL, FAALRule
from fairbench.methods.fair_ard import FairARD, FairARDRule
from fairbench.methods.frl import FRL, FRLRule
from fairbench.methods.ham import HAM
from fairbench.methods.iad import IAD
from fairbench.methods.mart import MART
from fairbench.methods.mtard import MTARD
from fairbench.methods.natural import Natural
from fairbench.methods.rslad import RSLAD
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES
from fairbench.methods.wat import WAT, WATRule
from fairbench.outcomes import Outcomes
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

pytestmark = pytest.mark.slow

EPOCHS = 6
METHODS = {
    "mart": (MART, {}),
    "ard": (ARD, {"alpha": 0.5}),
    "ard-alpha-1": (ARD, {}),
    "iad-I": (IAD, {}),
    "iad-II": (IAD, {"variant": "II"}),
    "adaad": (AdaAD, {"alpha": 0.5}),
    "mtard": (MTARD, {}),
    "frl": (FRL, {}),
    "frl-reweight": (FRL, {"variant": "reweight"}),
    "bat": (BAT, {}),
    "cfa": (CFA, {}),
    "cfa-sat": (CFA, {"variant": "sat"}),
    "wat": (WAT, {}),
    "fair-ard": (FairARD, {}),
    "dafa": (DAFA, {}),
    "faal": (FAAL, {}),
    "ham": (HAM, {}),
    "ham-released": (HAM, {"variant": "released", "mean_over": "batch"}),
    "class-reweighted-kd": (ClassReweightedKD, {}),
}
REWEIGHT = [FRLRule, WATRule, FairARDRule, DAFARule]
REMARGIN = [CFARule, DAFARule, FRLRule]
COMPOSED = {
    f"absld+{'+'.join(rule.name for rule in slots.values())}": (ABSLD, {"slots": slots})
    for slots in (
        *({"reweight": rule} for rule in REWEIGHT),
        *({"remargin": rule} for rule in REMARGIN),
        *({"reweight": first, "remargin": second} for first in REWEIGHT for second in REMARGIN),
    )
}
OTHERS = {
    "fair-rslad": (RSLAD, {"slots": {"reweight": FairARDRule}}),
    "faal-trades": (TRADES, {"slots": {"reweight": FAALRule}}),
    "faal-mart": (MART, {"slots": {"reweight": FAALRule}}),
    "dafa-sat": (SAT, {"slots": {"reweight": DAFARule, "remargin": DAFARule}}),
    "ham+wat+cfa": (HAM, {"slots": {"reweight": WATRule, "remargin": CFARule}}),
    "bat+dafa": (BAT, {"slots": {"reweight": DAFARule, "remargin": DAFARule}}),
    "mtard+fair-ard": (MTARD, {"slots": {"reweight": FairARDRule}}),
    "frl+wat": (FRL, {"slots": {"reweight": WATRule}}),
}
ALL = METHODS | COMPOSED | OTHERS
#: Methods without state of a class.
CLASSLESS = {"mart", "ard", "ard-alpha-1", "iad-I", "iad-II", "adaad", "mtard", "bat"}

every = pytest.mark.parametrize("name", ALL)
most = pytest.mark.parametrize("name", [*METHODS, *OTHERS, "absld+frl+dafa", "absld+wat+cfa", "absld+fair-ard+frl"])


def build(tiny, name):
    cls, options = ALL[name]
    roles = (*cls.roles, "natural") if options.get("variant") == "II" else cls.roles
    teachers = {role: tiny.network(7 + k) for k, role in enumerate(roles)}
    return cls(4, eps=0.1, teachers=teachers, steps=4, **options)


def validate(tiny, method, network, epoch):
    """The state that the loop would hand over, from a batch of validation images and a crude attack."""
    batch = tiny.batch([0, 1, 2, 3] * 5, seed=99)
    network.eval()
    with torch.no_grad():
        natural = network(batch.x)
        robust = network(batch.x + 0.2 * torch.sign(torch.sin(1e3 * batch.x)))
    attacks = sorted(method.validation_attacks())
    parts = [(name, logits.argmax(1)) for name, logits in [("natural", natural), *((name, robust) for name in attacks)]]
    columns = {
        "attack": [name for name, _ in parts for _ in batch.y],
        "index": batch.index.repeat(len(parts)).numpy(),
        "label": batch.y.repeat(len(parts)).numpy(),
        "prediction": torch.cat([prediction for _, prediction in parts]).numpy(),
    }
    table = (
        Outcomes(pd.DataFrame(columns | dict.fromkeys(("loss", "margin", "linf", "distance"), 0.0)))
        if attacks
        else None
    )
    terms = {
        k: v.double().numpy()
        for attack in sorted(method.term_attacks())
        for k, v in method.validation_terms(attack, batch.y, natural, robust).items()
    }
    return EpochState(epoch, EPOCHS, 1.0 if epoch < 4 else 0.1, table, terms)


class Run:
    """A method and a network, trained by the loop's own step."""

    def __init__(self, tiny, name):
        self.tiny, self.method, self.network = tiny, build(tiny, name), tiny.network()
        optimiser = torch.optim.SGD(self.network.parameters(), lr=0.05)
        self.stepper = Stepper(Forward(self.network), self.method, optimiser, seed=0)

    def begin(self, epoch):
        self.method.begin_epoch(validate(self.tiny, self.method, self.network, epoch))

    def step(self, epoch, labels=None, seed=0, gamma=0.0):
        batch = self.tiny.batch(labels or [0, 1, 2, 3] * 3, seed=100 * epoch + seed)
        return self.stepper.take(batch, epoch=epoch, rows=len(batch), gamma=gamma, totals=EpochTotals())

    def epochs(self, first, last, labels=None):
        for epoch in range(first, last):
            self.begin(epoch)
            self.step(epoch, labels)
        return self


def state_of(module):
    return copy.deepcopy(module.state_dict())


def same(before, after):
    return before.keys() == after.keys() and all(
        torch.equal(before[k].nan_to_num(), after[k].nan_to_num()) for k in before
    )


@every
def test_at_the_end_attack_and_loss_are_still_pure(tiny, name):
    run = Run(tiny, name).epochs(0, EPOCHS)
    method, network, batch = run.method, run.network.train(), tiny.batch([0, 1, 2, 3] * 3, seed=5)
    before, generator, norms = state_of(method), torch.get_rng_state(), state_of(network)
    with crafting(network, method.attack_mode):
        attacked = method.attack(network, batch, tiny.random(batch, EPOCHS))
    assert same(norms, state_of(network)), "the attack moved batch norm's statistics"
    assert len(attacked) >= 2
    first, second = method.loss(network, attacked), method.loss(network, attacked)
    assert torch.equal(first.total, second.total)
    assert same(before, state_of(method))
    assert torch.equal(generator, torch.get_rng_state())
    rows = [*attacked.extra.values(), *first.terms.values(), *first.logits.values()]
    assert not any(value.requires_grad for value in rows)
    assert all(len(value) == len(attacked) for value in rows)
    network.zero_grad()
    first.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert sum(p.grad.abs().sum() for p in network.parameters()) > 0
    assert all(p.grad is None for teacher in method.teachers.values() for p in teacher.model.parameters())


@pytest.mark.parametrize("name", sorted(set(ALL) - CLASSLESS))
def test_class_state_moves(tiny, name):
    start = {k: v.clone() for k, v in build(tiny, name).class_state().items()}
    end = Run(tiny, name).epochs(0, EPOCHS).method.class_state()
    moved = {k.split(".")[0] for k in end if not torch.equal(start[k], end[k])}
    assert moved == {k.split(".")[0] for k in end} != set()
    assert all(v.isfinite().all() and v.shape == (4,) for v in end.values())


@most
@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 0, 1, 0, 1], [0] * 9 + [3], [2] * 8], ids=["absent", "rare", "one"])
def test_absent_and_rare_classes(tiny, name, labels):
    run = Run(tiny, name).epochs(0, EPOCHS, labels)
    assert all(v.isfinite().all() for v in run.method.class_state().values())
    assert all(p.isfinite().all() for p in run.network.parameters())


@most
@pytest.mark.parametrize("epoch", [1, 4])
def test_resumes_in_the_middle_of_an_epoch(tiny, name, epoch):
    whole = Run(tiny, name).epochs(0, epoch)
    whole.begin(epoch)
    whole.step(epoch, seed=0)
    resumed = Run(tiny, name)
    resumed.method.load_state_dict(state_of(whole.method))
    resumed.network.load_state_dict(state_of(whole.network))
    for run in (whole, resumed):
        run.step(epoch, seed=1)
        run.begin(epoch + 1)
    assert same(state_of(whole.method), state_of(resumed.method))
    assert same(state_of(whole.network), state_of(resumed.network))


@most
def test_adversarial_weight_perturbation_asks_for_the_loss_twice(tiny, name):
    """The perturbed step is another one, and the method's meters count it once."""
    plain, perturbed = (Run(tiny, name).epochs(0, EPOCHS - 1) for _ in range(2))
    for run, gamma in ((plain, 0.0), (perturbed, 0.05)):
        run.begin(EPOCHS - 1)
        assert run.step(EPOCHS - 1, gamma=gamma)
    counts = [{k: v for k, v in run.method.state_dict().items() if k.endswith(".count")} for run in (plain, perturbed)]
    assert same(*counts)
    assert not same(*(dict(run.network.named_parameters()) for run in (plain, perturbed)))
    assert plain.network[1].num_batches_tracked == perturbed.network[1].num_batches_tracked


@most
def test_runs_in_float64(tiny, name):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run = Run(tiny, name).epochs(0, EPOCHS)
        batch = tiny.batch([0, 1, 2, 3] * 3)
        with crafting(run.network):
            batch = run.method.attack(run.network, batch, tiny.random(batch))
        step = run.method.loss(run.network, batch)
    finally:
        torch.set_default_dtype(before)
    assert step.total.dtype == torch.float64
    assert all(v.dtype == torch.float64 for v in step.terms.values())


def test_absld_composes_three_hooks(tiny):
    """The weight, the radius and the temperature of one sample come from three rules."""
    slots = {"reweight": FairARDRule, "remargin": CFARule}
    method = ABSLD(4, eps=0.1, teachers={"robust": tiny.network(7)}, slots=slots)
    assert method.filled_slots() == {"reweight": "fair-ard", "remargin": "cfa", "retemper": "absld"}
    method.rules["fair-ard"].class_weight.copy_(torch.tensor([2.0, 1.0, 1.0, 1.0]))
    method.rules["cfa"].radius_factor.copy_(torch.tensor([0.5, 1.0, 1.0, 1.0]))
    method.rules["absld"].robust_temperature.copy_(torch.tensor([0.5, 1.0, 1.0, 1.0]))
    batch = tiny.batch()
    attacked = method.attack(tiny.network().eval(), batch, tiny.random(batch))
    step = method.loss(tiny.network(), attacked)
    weight = torch.where(batch.y == 0, 2.0, 1.0)
    expected = (weight * (5 / 6 * step.terms["robust"] + 1 / 6 * step.terms["natural"])).mean()
    torch.testing.assert_close(step.total, expected)
    assert (attacked.adversarial - batch.x)[batch.y == 0].abs().max() <= 0.05 + 1e-6
    assert method.tempered(torch.ones(1, 4), torch.tensor([0]), "robust")[0, 0] == 2


def test_one_rule_fills_two_slots_of_another_method(tiny):
    slots = {"reweight": DAFARule, "remargin": DAFARule}
    method = ABSLD(4, eps=0.1, teachers={"robust": tiny.network(7)}, slots=slots, strength=1.5)
    assert sorted(method.rules) == ["absld", "dafa"]
    assert method.hyper()["dafa.strength"] == 1.5


@pytest.mark.parametrize(
    ("cls", "slot", "rule", "why"),
    [
        (ABSLD, "reweight", CFARule, "the class rule 'cfa' cannot reweight; it can be given to --remargin"),
        (ABSLD, "remargin", WATRule, "the class rule 'wat' cannot remargin; it can be given to --reweight"),
        (
            ABSLD,
            "retemper",
            FRLRule,
            "the class rule 'frl' cannot retemper; it can be given to --reweight or --remargin",
        ),
        (BAT, "reweight", FairARDRule, "fair-ard does not fit method 'bat', which has no count of the attack steps"),
        (HAM, "reweight", FairARDRule, "fair-ard does not fit method 'ham', which has no count of the attack steps"),
        (SAT, "reweight", RiskWeightRule, "risk-weight does not fit method 'sat', which has no loss on natural images"),
        (MART, "reweight", RiskWeightRule, "does not fit method 'mart', which has no loss on natural images"),
        (Natural, "reweight", FAALRule, "faal does not fit method 'natural', which has no loss on adversarial images"),
        (Natural, "reweight", WATRule, "wat does not fit method 'natural', which has no loss on adversarial images"),
        (Natural, "remargin", FRLRule, "frl does not fit method 'natural', which has no loss on adversarial images"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tiny, cls, slot, rule, why):
    with pytest.raises(BadInput, match=why):
        cls(4, eps=0.1, teachers={role: tiny.network() for role in cls.roles}, slots={slot: rule})


def test_batches_of_hard_rows_keep_their_own_teacher_labels(tiny):
    """A composition whose host drops rows still matches rows, weights and labels."""
    run = Run(tiny, "ham+wat+cfa").epochs(0, EPOCHS)
    batch = tiny.batch([0, 1, 2, 3] * 3)
    with crafting(run.network):
        attacked = run.method.attack(run.network, batch, tiny.random(batch, EPOCHS))
    assert torch.equal(attacked.y, batch.y[attacked.index])
    assert torch.equal(attacked.x, batch.x[attacked.index])
    assert isinstance(attacked, Batch)
