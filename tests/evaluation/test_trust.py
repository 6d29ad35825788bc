"""Each refusal by its name, through `evaluate`; and that honest models raise none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.trust import CHECKS, Trust


def refused(check, model, dataset, **options):
    with pytest.raises(Refused) as error:
        evaluate(model, dataset, "fgsm", **{"eps": "0.1", **options})
    assert error.value.check == check
    assert error.value.exit_code == 2
    assert error.value.overridable == CHECKS[check].overridable
    message = str(error.value)
    assert len(message) < 600
    assert "\n" not in message
    assert (f"--accept {check}" in message) == CHECKS[check].overridable
    return message


class Wrapped(nn.Module):
    """`model` with something done to its output."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model(x))


def wrapped(model, change):
    return Wrapped(model, change).eval()


def test_an_honest_model_raises_none(model, dataset):
    assert evaluate(model, dataset, "fgsm", eps="0.1").record["flags"] == []


def test_labels_outside_the_classes(model, dataset):
    dataset.y[3] = 5
    assert "0 .. 4" in refused("labels", model, dataset)
    dataset.y[3] = -1
    refused("labels", model, dataset)


def test_samples_that_share_an_index(model, dataset):
    dataset.index[3] = dataset.index[4]
    refused("labels", model, dataset)


@pytest.mark.parametrize("value", [1.5, -0.2, float("nan"), 255.0])
def test_pixels_outside_the_range(value, model, dataset):
    dataset.x[np.argmin(dataset.index)] = value
    refused("pixel-range", model, dataset)


def test_train_mode(model, dataset):
    model.append(nn.BatchNorm1d(5))
    refused("train-mode", model, dataset)
    assert model[-1].num_batches_tracked == 0, "a forward in train mode changes the model"


def test_a_module_that_switches_itself(model, dataset):
    class Sly(nn.Module):
        def forward(self, x):
            self.train()
            return x

    model.append(Sly().eval())
    refused("train-mode", model, dataset)


def test_a_module_that_switches_itself_later(model, dataset):
    class Patient(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            self.train(self.calls > 20)
            return x

    model.append(Patient().eval())
    with pytest.raises(Refused) as error:
        evaluate(model, dataset, "pgd20", eps="0.1")
    assert error.value.check == "train-mode"


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z[:, :4], lambda z: torch.cat([z, z], 1), lambda z: z[:, :, None], lambda z: z.sum(1),
        lambda z: {"logits": z}, lambda z: z[:1], lambda z: z.argmax(1),
    ],
    ids=["fewer", "more", "maps", "scalar", "dictionary", "one row", "labels"],
)  # fmt: skip
def test_outputs_that_are_no_logits_of_the_classes(change, model, dataset):
    assert "5 classes" in refused("class-count", wrapped(model, change), dataset)


def test_nan_weights(model, dataset):
    model[3].bias.data[2] = float("nan")
    assert "16 of 16" in refused("nan-logits", model, dataset)


def test_logits_that_become_infinite_under_attack(model, dataset):
    """The natural images are fine; the evaluator must still not score the examples."""
    natural = {tuple(image.flatten().tolist()) for image in dataset.x}

    class Late(nn.Module):
        def forward(self, x):
            known = torch.tensor([tuple(image.flatten().tolist()) in natural for image in x.detach()])
            logits = model(x)
            return logits if known.all() else logits * float("inf")

    with pytest.raises(Refused) as error:
        evaluate(Late().eval(), dataset, "fgsm", eps="0.1")
    assert error.value.check in ("nan-logits", "left-ball")


def test_probabilities(model, dataset):
    softmax = wrapped(model, lambda z: z.softmax(1))
    refused("probabilities", softmax, dataset)
    run = evaluate(softmax, dataset, "fgsm", eps="0.1", accept=["probabilities"])
    assert [flag["name"] for flag in run.record["flags"]] == ["probabilities"]
    assert run.record["accepted"] == ["probabilities"]
    refused("probabilities", wrapped(model, lambda z: 100 * z.softmax(1)), dataset)
    refused("probabilities", wrapped(model, torch.sigmoid), dataset)
    # Log-probabilities are logits.
    evaluate(wrapped(model, lambda z: z.log_softmax(1)), dataset, "fgsm", eps="0.1")


def test_random_models(model, dataset):
    state = torch.get_rng_state()
    refused("non-deterministic", wrapped(model, lambda z: z + 0.01 * torch.randn_like(z)), dataset)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was left changed"


def test_batch_statistics(model, dataset):
    statistics = nn.BatchNorm1d(5, track_running_stats=False).eval()
    refused("batch-dependent", wrapped(model, lambda z: statistics(z) if len(z) > 1 else z * 0.5), dataset)


@pytest.mark.parametrize(
    "model_of",
    [
        lambda model: wrapped(model, lambda z: z.detach()),
        lambda model: nn.Sequential(_NoGrad(model)).eval(),
    ],
    ids=["detach", "no_grad"],
)
def test_no_gradient(model_of, model, dataset):
    refused("no-gradient", model_of(model), dataset)


class _NoGrad(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.no_grad():
            return self.model(x)


def test_images_that_the_model_cannot_take(model):
    colour = ArrayDataset(torch.rand(4, 3, 6, 6), [0, 1, 2, 3], class_names="abcde")
    with pytest.raises(BadInput, match=r"cannot take the images of arrays, \(3, 6, 6\)"):
        evaluate(model, colour, "fgsm", eps="0.1")


def test_another_order_of_classes(model, dataset):
    """All predictions moved on by one class: accuracy is near 0, and the sentence says what it would be."""
    message = refused("low-accuracy", wrapped(model, lambda z: z.roll(1, 1)), dataset)
    assert "another order" in message
    run = evaluate(
        wrapped(model, lambda z: z.roll(1, 1)), dataset, "fgsm", eps="0.1", accept=["low-accuracy", "probabilities"]
    )
    assert [flag["name"] for flag in run.record["flags"]] == ["low-accuracy"]


def test_accept_takes_only_what_makes_sense():
    assert Trust(["low-accuracy", "normalize"]).accept == ("low-accuracy", "normalize")
    with pytest.raises(BadInput, match="Did you mean 'low-accuracy'"):
        Trust(["low-acuracy"])
    for name, check in CHECKS.items():
        if not check.overridable:
            with pytest.raises(BadInput, match="cannot be accepted"):
                Trust([name])
