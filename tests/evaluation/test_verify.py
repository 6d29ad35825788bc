"""A table is rebuilt from its examples, and nothing that was changed passes."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.examples import example_path
from fairbench.evaluation.reproduce import reproduce
from fairbench.evaluation.verify import verify
from fairbench.metrics.eight_bit import EightBit
from fairbench.outcomes import Outcomes
from fairbench.runs import read_run, write_json


def run_into(folder, model, dataset, attacks="fgsm,pgd5", **options):
    return evaluate(
        model, dataset, attacks, out=folder, save_adversarial=True, **{"eps": "0.1", "batch_size": 8, **options}
    )


@pytest.fixture
def folder(model, dataset, tmp_path):
    run_into(tmp_path / "run", model, dataset)
    return tmp_path / "run"


def verified(folder, model, dataset):
    return verify(read_run(folder), model, dataset)


def rewrite(folder, path, content):
    """Write an example file and every hash above it, as somebody would who wants to be believed."""
    (folder / path).write_bytes(content)
    ledger = json.loads((folder / "examples.json").read_text())
    ledger["files"][path] = hashlib.sha256(content).hexdigest()
    write_json(folder / "examples.json", ledger)
    record = json.loads((folder / "run.json").read_text())
    record["examples"]["sha256"] = hashlib.sha256((folder / "examples.json").read_bytes()).hexdigest()
    write_json(folder / "run.json", record)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "float64"},
        {"precision": "bf16"},
        {"norm": "L2", "eps": "0.5"},
        {"attacks": "aa,pgd5", "take": 6},
        {"attacks": "aa", "norm": "L2", "eps": "0.5", "take": 4},
    ],
)
def test_the_rebuilt_table_is_the_run_s_to_the_last_bit(options, model, dataset, tmp_path):
    options = dict(options)
    data = dataset.take(dataset.index.argsort()[: options.pop("take", 45)], selection="some")
    run = run_into(tmp_path, model, data, **options)
    found = verified(tmp_path, model, data)
    assert found.differences == ()
    assert found.rebuilt.to_bytes() == run.outcomes.to_bytes()
    for attack in run.record["attacks"]:
        adversarial = int((run.outcomes.robust("natural") & ~run.outcomes.robust(attack)).sum())
        assert found.eight_bit[attack].adversarial == adversarial > 0


class Threshold(nn.Module):
    """One pixel: class 0 below 128.265 / 255, class 1 above."""

    def forward(self, x):
        value = x[:, 0, 0] - 128.265 / 255
        return torch.cat([-value, value], 1) * 10


def test_eight_bits_by_hand(tmp_path):
    """FGSM of radius 25.5/255 lifts a pixel v/255 of class 0 to (v + 25.5)/255.

    v = 103.6: 129.1 is class 1, rounds to 129, class 1, 25.4 away: still adversarial and within the radius.
    v = 103.2: 128.7 is class 1, rounds to 129, class 1, 25.8 away: still adversarial, outside.
    v = 102.8: 128.3 is class 1, rounds to 128, class 0, 25.2 away: within, but no longer adversarial.
    v = 102.6: 128.1 is class 0: no adversarial example.
    v = 200 with label 0 is a natural error and counts nowhere.
    Sum: 3 adversarial, 2 still, 2 inside, 1 both.
    """
    pixels = torch.tensor([103.6, 103.2, 102.8, 102.6, 200.0])[:, None, None, None] / 255
    data = ArrayDataset(pixels, [0] * 5, class_names=["dark", "light"])
    run_into(tmp_path, Threshold().eval(), data, "fgsm", accept=["low-accuracy"])
    found = verified(tmp_path, Threshold().eval(), data)
    assert found.differences == ()
    assert found.eight_bit == {"fgsm": EightBit(adversarial=3, still=2, inside=2, both=1)}


def test_changed_files_are_refused(folder, model, dataset, tmp_path):
    path = example_path("pgd5", 8, 2)
    for name, change in (
        (path, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("examples.json", lambda content: content.replace(b"pgd5", b"pgd6")),
    ):
        copy = shutil.copytree(folder, tmp_path / f"copy-{len(name)}")
        (copy / name).write_bytes(change((copy / name).read_bytes()))
        with pytest.raises(BadInput, match="was changed"):
            verified(copy, model, dataset)
    (folder / path).unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        verified(folder, model, dataset)


def test_an_example_outside_the_radius_or_the_pixels_is_refused(folder, model, dataset):
    path = example_path("pgd5", 8, 0)
    stored = load_file(folder / path)
    for x_adv in (stored["x_adv"] + 0.05, stored["x_adv"].clone().fill_(float("nan"))):
        rewrite(folder, path, save({"index": stored["index"], "x_adv": x_adv}))
        with pytest.raises(Refused, match="left the threat model") as error:
            verified(folder, model, dataset)
        assert error.value.check == "left-ball"


def test_examples_of_other_samples_are_refused(folder, model, dataset):
    path = example_path("pgd5", 8, 0)
    stored = load_file(folder / path)
    for index in (stored["index"] + 1000, stored["index"] * 0 + stored["index"][0]):
        rewrite(folder, path, save({"index": index, "x_adv": stored["x_adv"]}))
        with pytest.raises(BadInput, match="belongs to another run"):
            verified(folder, model, dataset)


def test_an_example_that_is_replaced_by_its_image_is_seen(folder, model, dataset):
    """Within the radius and well hashed, but it does not give the verdict in the table."""
    run = read_run(folder)
    rows = run.outcomes.of("pgd5").merge(run.outcomes.of("natural"), on="index", suffixes=("", "_natural"))
    rows = rows[(rows["prediction"] != rows["label"]) & (rows["prediction_natural"] == rows["label"])]
    victim = int(rows["index"].iloc[0])
    for number in range(6):
        stored = load_file(folder / example_path("pgd5", 8, number))
        keep = stored["index"] != victim
        if not bool(keep.all()):
            content = save({"index": stored["index"][keep], "x_adv": stored["x_adv"][keep].contiguous()})
            rewrite(folder, example_path("pgd5", 8, number), content)
    (difference,) = verified(folder, model, dataset).differences
    assert (difference.attack, difference.index, difference.column) == ("pgd5", victim, "prediction")
    assert difference.flipped
    assert difference.after == difference.label


@pytest.mark.parametrize("column", ["prediction", "label", "row", "linf", "distance", "margin", "loss"])
def test_a_changed_table_is_seen(column, folder, model, dataset):
    frame = read_run(folder).outcomes.frame
    place = int(frame.index[frame["attack"] == "pgd5"][7])
    index = int(frame.loc[place, "index"])
    if column == "row":
        frame = frame.drop(index=place)
    elif column == "label":
        frame.loc[frame["index"] == index, "label"] = (frame.loc[place, "label"] + 1) % 5
    elif column == "prediction":
        frame.loc[place, "prediction"] = (frame.loc[place, "prediction"] + 1) % 5
    else:
        frame.loc[place, column] -= 0.01  # upwards, a distance would leave the ball, which no table may
    Outcomes(frame).write(folder / "outcomes.parquet")
    found = verified(folder, model, dataset).differences
    rows = ["fgsm", "natural", "pgd5"] if column == "label" else ["pgd5"]
    assert [(one.attack, one.index, one.column) for one in found] == [(name, index, column) for name in rows]


def test_another_model_does_not_give_the_table(folder, model, dataset):
    with torch.no_grad():
        model[-1].bias += torch.tensor([0.0, 0.4, 0.0, 0.0, 0.0])
    found = verified(folder, model, dataset).differences
    assert any(one.column == "prediction" for one in found)


def test_another_data_set_and_a_run_without_examples_are_refused(folder, model, dataset, tmp_path):
    other = dataset.take(dataset.index.argsort()[:44], selection="all")
    with pytest.raises(BadInput, match="number of samples is 44"):
        verified(folder, model, other)
    dataset.x[0] = 1 - dataset.x[0]
    with pytest.raises(BadInput, match="its content is"):
        verified(folder, model, dataset)
    evaluate(model, dataset, "fgsm", eps="0.1", batch_size=8, out=tmp_path / "none")
    with pytest.raises(BadInput, match="--save-adversarial"):
        verified(tmp_path / "none", model, dataset)
    with pytest.raises(BadInput, match="never written"):
        verify(evaluate(model, dataset, "fgsm", eps="0.1"), model, dataset)


def test_a_repetition_gives_the_same_table(model, dataset, tmp_path):
    few = dataset.take(dataset.index.argsort()[:5], selection="5")
    run = evaluate(model, few, "aa,pgd5(restarts=2)", eps="0.1", seed=3, batch_size=3, precision="float64")
    again = reproduce(run, model, few, out=tmp_path / "again")
    assert again.outcomes.to_bytes() == run.outcomes.to_bytes()
    assert again.record["block_size"] == 3
    with pytest.raises(BadInput, match="finished run"):
        reproduce(run, model, few, out=tmp_path / "again")
