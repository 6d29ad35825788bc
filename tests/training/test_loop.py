"""The loop: order of hooks, exact resume, interruption, skipped steps, divergence, deployed weights."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from fairbench.errors import BadInput
from fairbench.methods import METHODS
from fairbench.methods.sat import SAT
from fairbench.methods.teacher import Teacher
from fairbench.progress import Silent
from fairbench.training.forward import Forward

STEPS = 3  # 40 images in batches of 16: 16, 16, 8


#: when a training is stopped (after so many steps), and how often its state is saved (seconds)
STOPS = {
    "first step": (1, 0.0),
    "end of epoch 1": (STEPS, 0.0),
    "in epoch 2": (STEPS + 2, 0.0),
    "in epoch 2, state of epoch 1": (STEPS + 2, 300.0),
    "last step": (3 * STEPS, 0.0),
}


def interruptions():
    """Every method within an epoch; ABSLD, and what else has state (dropout, averages, AWP, selection), everywhere."""
    everywhere = {
        "absld": {"method": "absld"},
        "attack in train mode": {"method": "fair-ard", "hyper": {"attack_mode": "train", "clamp_start": False}},
        "dropout, best-sum": {"dropout": True, "select": "best-sum"},
        "average of steps, awp, flip": {"average": ("step", 0.9), "awp": 0.01, "augment": "flip"},
        "average of late steps, late awp": {"average": ("step", 0.9, 0.5), "awp": 0.01, "awp_start": 0.5},
        "average of late epochs": {"average": ("epoch", "uniform", 0.6), "select": "best-average"},
        "average of epochs": {"average": ("epoch", "uniform"), "select": "best-average"},
    }
    for name, options in everywhere.items():
        for when, stop in STOPS.items():
            yield pytest.param(options, *stop, id=f"{name}: {when}")
    for name in METHODS.keys() - {"absld"}:
        # HAM drops samples after its third step, so it needs more than the two of these tests.
        hyper = {"hyper": {"steps": 4}} if name == "ham" else {}
        yield pytest.param({"method": name, **hyper}, *STOPS["in epoch 2"], id=f"{name}: in epoch 2")


@pytest.fixture(scope="module")
def whole():
    """Undisturbed results by variant, so that they are trained once."""
    return {}


@pytest.mark.parametrize(("options", "stop", "save_every"), sorted(interruptions(), key=lambda case: str(case.id)))
def test_stopped_and_resumed_is_the_undisturbed_training(tiny, tmp_path, assert_same, whole, options, stop, save_every):
    key = str(options)
    if key not in whole:
        folder = tmp_path / "whole"
        folder.mkdir()
        training = tiny.training(tiny.job(**options), folder=folder)
        torch.manual_seed(3)
        training.run()
        whole[key] = tiny.result(training)
    stopped = tiny.training(tiny.job(**options), progress=tiny.StopAfter(stop), save_every=save_every)
    torch.manual_seed(3)
    with pytest.raises(tiny.KilledError):
        stopped.run()
    torch.manual_seed(99)  # the state knows where the generator was, or the training began anew from the given one
    if not stopped.state_path.exists():
        torch.manual_seed(3)
    resumed = tiny.training(tiny.job(**options), save_every=save_every)
    resumed.run()
    assert_same(tiny.result(resumed), whole[key])
    assert len(resumed.log_path.read_text().splitlines()) == 3


def test_stopped_at_every_step(tiny, assert_same, tmp_path):
    """Resumed nine times, one step each."""
    (tmp_path / "whole").mkdir()
    whole = tiny.training(tiny.job("absld"), folder=tmp_path / "whole")
    whole.run()
    for _ in range(3 * STEPS - 1):
        training = tiny.training(tiny.job("absld"), progress=tiny.StopAfter(2), save_every=0)
        with pytest.raises(tiny.KilledError):
            training.run()
        if training.epoch == 2 and training.batch == STEPS:
            break
    last = tiny.training(tiny.job("absld"), save_every=0)
    last.run()
    assert_same(tiny.result(last), tiny.result(whole))


class Recorder(SAT):
    """Notes the order in which the loop calls it."""

    name = "sat"
    calls: list  # of the test

    def attack(self, model, batch, random):
        assert not torch.is_grad_enabled()
        assert not model.training
        self.calls.append("attack")
        return super().attack(model, batch, random)

    def loss(self, model, batch):
        assert model.training
        self.calls.append("loss")
        return super().loss(model, batch)

    def observe(self, batch, step):
        self.calls.append("observe")

    def begin_epoch(self, state):
        assert set(state.validation.attacks) == {"natural", "pgd2", "fgsm"}
        self.calls.append(("begin", state.epoch, state.epochs, state.lr_factor))

    def validation_attacks(self):
        return {"fgsm"}

    def accepts_average(self, state):
        self.calls.append(("offer", state.epoch))
        return state.epoch >= 2


def test_order_of_an_epoch(tiny):
    """Offered before begin_epoch; begin_epoch once per epoch; attack, loss, observe once per step; a last offer."""
    job = tiny.job(method_class=Recorder, epochs=2, average=("epoch", 0.5), schedule=((0.5, 0.1),))
    job.method.calls = calls = []
    training = tiny.training(job)
    training.run()
    step = ["attack", "loss", "observe"]
    assert calls == [
        ("offer", 0), ("begin", 0, 2, 1.0), *step * STEPS,
        ("offer", 1), ("begin", 1, 2, 0.1), *step * STEPS, ("offer", 2),
    ]  # fmt: skip
    assert [line["deployed"] for line in training.log] == ["live", "average"]
    assert training.log[1]["validation_live"].keys() == training.log[1]["validation"].keys()
    assert training.average.entered == 1


def test_a_resumed_epoch_is_not_begun_twice(tiny):
    job = tiny.job(method_class=Recorder, epochs=2)
    job.method.calls = []
    with pytest.raises(tiny.KilledError):
        tiny.training(job, progress=tiny.StopAfter(STEPS + 1), save_every=0).run()
    again = tiny.job(method_class=Recorder, epochs=2)
    again.method.calls = calls = []
    tiny.training(again).run()
    assert [call for call in calls if call[0] == "begin"] == []
    assert calls.count("attack") == STEPS - 1


def test_log_lines(tiny):
    training = tiny.training(tiny.job("absld", epochs=2))
    training.run()
    lines = [json.loads(line) for line in training.log_path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert set(line["validation"]) == {"natural", "pgd2"}
        assert len(line["validation"]["pgd2"]["class_accuracy"]) == 10
        assert set(line["loss"]) == {"natural", "robust", "total"}
        total = 5 / 6 * line["loss"]["robust"] + 1 / 6 * line["loss"]["natural"]
        assert line["loss"]["total"] == pytest.approx(total, rel=1e-5)
        # Per image two attack steps, and a forward of x_adv and of x.
        assert line["forwards"] == line["backwards"] == 40 * 4
        assert line["skipped_steps"] == 0
        assert line["seconds"] > 0
    assert lines[0]["class_state"]["absld.robust_temperature"] == [1.0] * 10
    moved = lines[1]["class_state"]["absld.robust_temperature"]
    assert max(abs(value - 1) for value in moved) == pytest.approx(0.1)


def test_the_log_has_the_radius_and_that_of_each_class_where_a_rule_sets_it(tiny):
    """Two epochs of warm-up give a third and two thirds of the radius; CFA multiplies it by class."""
    training = tiny.training(tiny.job("cfa", epochs=4, eps_warmup=0.5))
    training.run()
    eps = training.method.eps
    assert [line["eps"] for line in training.log] == pytest.approx([eps / 3, 2 * eps / 3, eps, eps])
    for line in training.log:
        factors = np.array(line["class_state"]["cfa.radius_factor"])
        assert line["class_eps"] == pytest.approx(line["eps"] * factors)


def test_without_a_rule_no_class_has_a_radius_of_its_own(tiny):
    training = tiny.training(tiny.job("sat", epochs=1))
    training.run()
    assert training.log[0]["class_eps"] is None
    assert training.log[0]["eps"] == training.method.eps


def test_what_ham_saves_and_spends_is_what_sat_spends(tiny):
    """Two epochs of SAT, then six of HAM: passes done and saved are those of 3 attack steps and a loss per image."""
    options = {"steps": 3, "drop_step": 1, "begin": 2 / 8}
    training = tiny.training(tiny.job("ham", hyper=options, epochs=8, batch_size=20, lr=0.02))
    training.run()
    lines = [json.loads(line) for line in training.log_path.read_text().splitlines()]
    assert [line["numbers"]["mining"] for line in lines] == [False] * 2 + [True] * 6
    assert all(line["skipped_steps"] == 0 for line in lines)
    for passes in ("forwards", "backwards"):
        saved = np.diff([0, *(line["numbers"][f"saved_{passes}"] for line in lines)])
        assert [line[passes] for line in lines] == (40 * 4 - saved).tolist()
        assert saved[-1] > 0


def test_teachers_are_counted_together(tiny):
    """AdaAD asks its teacher at every attack step, with gradients, and twice for labels."""
    job = tiny.job("adaad", epochs=1)
    job.method.teachers = {role: Teacher(Forward(t.model)) for role, t in job.method.teachers.items()}
    training = tiny.training(job)
    training.run()
    assert training.log[0]["teacher_forwards"] == 40 * (2 + 2)
    assert training.log[0]["teacher_backwards"] == 40 * 2


def test_missing_terms_are_null(tiny):
    training = tiny.training(tiny.job("natural", epochs=1))
    training.run()
    line = json.loads(training.log_path.read_text())
    assert line["loss"]["robust"] is None
    assert line["loss"]["total"] == pytest.approx(line["loss"]["natural"])


def test_rows_that_a_step_lacks_are_skipped_and_counted(tiny):
    """41 images in batches of 8 leave one row over, which batch norm cannot train on."""
    job = tiny.job(samples=4, batch_size=8, epochs=1)
    more = job.train.take(np.append(np.arange(40), 0), selection="one image twice")
    job = replace(job, train=more)
    training = tiny.training(job)
    training.run()
    assert training.log[0]["skipped_steps"] == 1
    assert training.log[0]["forwards"] == 40 * 3


class DropsAll(SAT):
    """Leaves no sample in the batch, as HAM may."""

    name = "sat"

    def attack(self, model, batch, random):
        return super().attack(model, batch, random).at(torch.zeros(len(batch), dtype=torch.bool))


def test_batches_that_a_method_empties_are_skipped(tiny):
    training = tiny.training(tiny.job(method_class=DropsAll, epochs=1))
    before = training.network[0].weight.detach().clone()
    training.run()
    assert training.log[0]["skipped_steps"] == STEPS
    assert training.log[0]["loss"]["total"] is None
    assert torch.equal(before, training.network[0].weight)


def test_divergence_is_one_sentence_and_keeps_the_last_state(tiny):
    with pytest.raises(
        BadInput, match=r"training with sat diverged: the loss became nan in epoch \d; lower the learning"
    ):
        tiny.training(tiny.job(lr=1e30)).run()


def test_too_few_images_are_refused(tiny):
    job = tiny.job()
    job = replace(job, train=job.train.take(np.array([0]), selection="one"))
    with pytest.raises(BadInput, match="at least 2 images"):
        tiny.training(job)


class Interrupting(Silent):
    """Presses Ctrl-C in step `at`."""

    def __init__(self, at):
        self.left = at

    def advance(self, bar, amount=1):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_saves_the_step_and_interrupts(tiny, assert_same, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = tiny.training(tiny.job(), folder=tmp_path / "whole")
    whole.run()
    before = signal.getsignal(signal.SIGINT)
    training = tiny.training(tiny.job(), progress=Interrupting(STEPS + 1))
    with pytest.raises(KeyboardInterrupt):
        training.run()
    assert signal.getsignal(signal.SIGINT) is before
    # Pressed after step 1 of epoch 2, seen after step 2, which is saved although no five minutes have passed.
    state = torch.load(training.state_path, weights_only=True)
    assert (state["epoch"], state["batch"]) == (1, 2)
    resumed = tiny.training(tiny.job())
    resumed.run()
    assert_same(tiny.result(resumed), tiny.result(whole))


def test_another_settings_state_is_refused(tiny):
    tiny.training(tiny.job(epochs=1)).run()
    with pytest.raises(BadInput, match="recipe epochs = 1 there, but 2 here"):
        tiny.training(tiny.job(epochs=2)).run()


def test_the_network_ends_with_the_selected_weights(tiny):
    training = tiny.training(tiny.job(select="best-average", epochs=4))
    training.run()
    assert all(torch.equal(v, training.selection.weights[k]) for k, v in training.network.state_dict().items())
    scores = [line["validation"]["pgd2"]["average"] for line in training.log]
    assert training.selection.epoch == 1 + scores.index(max(scores))


def test_the_average_that_never_came_leaves_the_live_weights(tiny):
    class Never(SAT):
        name = "sat"

        def accepts_average(self, state):
            return False

    training = tiny.training(tiny.job(method_class=Never, average=("step", 0.9), epochs=1))
    training.run()
    assert training.selection.deployed == "live"


def test_the_learning_rate_of_each_epoch(tiny):
    training = tiny.training(tiny.job(schedule=((0.4, 0.1), (0.7, 0.01))))
    training.run()
    assert [line["lr"] for line in training.log] == pytest.approx([0.1, 0.01, 0.001])


def test_the_global_generator_is_left_alone_without_dropout(tiny):
    state = torch.get_rng_state()
    tiny.training(tiny.job("absld", epochs=1)).run()
    assert torch.equal(state, torch.get_rng_state())
