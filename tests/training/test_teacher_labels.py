"""Teachers' labels that are computed once: the same training, fewer passes, the same after an interruption."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fairbench.errors import BadInput
from fairbench.methods import METHODS
from fairbench.methods.known_labels import KnownLabels
from fairbench.training.forward import Forward
from fairbench.training.recipe import Recipe
from fairbench.training.teacher_labels import check_cache

ASKING = ["ard", "iad", "adaad", "rslad", "mtard", "fair-ard", "absld", "class-reweighted-kd"]


@pytest.mark.parametrize("method", ASKING)
def test_labels_asked_once_train_the_same_network(tiny, tmp_path, method):
    """Equal but for the rounding of a teacher's pass, which sees the images in other company."""
    ended = []
    for cached in (False, True):
        (folder := tmp_path / str(cached)).mkdir()
        job = tiny.job(method, cache_teacher=cached)
        for teacher in job.method.teachers.values():
            teacher.model = Forward(teacher.model)  # which counts
        ended.append(tiny.training(job, folder=folder))
        ended[-1].run()
    asked, known = ended
    for name, value in asked.network.state_dict().items():
        assert torch.allclose(value, known.network.state_dict()[name], rtol=1e-4, atol=1e-5), name
    counts = [[line["teacher_forwards"] for line in training.log] for training in ended]
    images = len(known.job.train)
    # Once before the first step, and not once in each of three epochs.
    assert [a - k for a, k in zip(*counts, strict=True)] == [0, images, images]
    assert min(counts[0]) >= images
    assert [line["forwards"] for line in asked.log] == [line["forwards"] for line in known.log]


@pytest.mark.parametrize("steps", [1, 4])
def test_a_resumed_training_has_the_same_labels(tiny, tmp_path, assert_same, steps):
    whole = tiny.training(tiny.job("absld", cache_teacher=True))
    whole.run()
    (folder := tmp_path / "stopped").mkdir()
    stopped = tiny.training(
        tiny.job("absld", cache_teacher=True), folder=folder, progress=tiny.StopAfter(steps), save_every=0
    )
    with pytest.raises(tiny.KilledError):
        stopped.run()
    resumed = tiny.training(tiny.job("absld", cache_teacher=True), folder=folder)
    resumed.run()
    assert_same(tiny.result(resumed), tiny.result(whole))


def test_labels_are_found_by_the_image_s_place():
    logits = torch.arange(6.0).reshape(3, 2)
    known = KnownLabels(torch.tensor([7, 2, 5]), logits)
    assert known(torch.tensor([5, 7])).tolist() == [[4, 5], [0, 1]]
    with pytest.raises(IndexError):
        known(torch.tensor([3]))


def test_what_cannot_be_kept_is_refused(tiny):
    recipe = Recipe("test", epochs=1, batch_size=8, lr=0.1, cache_teacher=True)
    with pytest.raises(BadInput, match=r"augmentation is 'crop'; give --augment none"):
        check_cache(replace(recipe, augment="crop"), tiny.job("absld").method)
    with pytest.raises(BadInput, match=r"method 'sat' as it is set asks no teacher"):
        check_cache(recipe, tiny.job("sat").method)
    second = METHODS["iad"](10, eps=0.1, teachers={r: tiny.network(1) for r in ("robust", "natural")}, variant="II")
    with pytest.raises(BadInput, match="method 'iad'"):
        check_cache(recipe, second)
    check_cache(replace(recipe, augment="crop", cache_teacher=False), tiny.job("sat").method)


def test_every_role_that_is_asked_about_x_is_named(tiny):
    """A method that asked a teacher about x without saying so would go on asking."""
    for name in METHODS:
        training = tiny.training(tiny.job(name, epochs=1, hyper={"steps": 4}))
        asked = []
        original = training.method.ask

        def ask(batch, role, image="x", original=original, asked=asked):
            asked.append((role, image))
            return original(batch, role, image)

        training.method.ask = ask
        training.run()
        training.state_path.unlink()
        assert {role for role, image in asked if image == "x"} == set(training.method.asks_of_x()), name
