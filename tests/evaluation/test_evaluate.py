from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

import fairbench
from fairbench.errors import BadInput
from fairbench.evaluation.evaluate import evaluate
from fairbench.metrics.summary import metrics_bytes
from fairbench.runs import read_run

ATTACKS = ["fgsm", "pgd5", "cw5(restarts=2)"]


def run_of(model, dataset, out=None, attacks=ATTACKS, **options):
    return evaluate(model, dataset, attacks, **{"eps": "0.1", "batch_size": 16, "out": out, **options})


def test_the_folder_holds_the_run(model, dataset, tmp_path):
    run = run_of(model, dataset, tmp_path / "run", name="small")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "classifier.json",
        "metrics.json",
        "outcomes.parquet",
        "run.json",
    ]
    back = read_run(tmp_path / "run")
    assert back.record == json.loads(json.dumps(run.record))
    assert back.outcomes.to_bytes() == run.outcomes.to_bytes()
    assert (tmp_path / "run" / "metrics.json").read_text() == metrics_bytes(run.outcomes, dataset.class_names)
    record = back.record
    assert record["threat"] == {"norm": "Linf", "eps": 0.1, "eps_text": "0.1"}
    assert list(record["attacks"]) == ATTACKS
    assert record["attacks"]["pgd5"]["step_size"] == pytest.approx(0.025)
    assert record["block_size"] == 16
    assert record["model"]["name"] == "small"
    assert record["dataset"]["count"] == 45
    assert record["flags"] == []
    for key in ("schema", "protocol", "command", "versions", "hardware", "seconds", "seeds", "threads", "engine"):
        assert record[key] is not None


def test_in_memory_run_equals_the_folder_s(model, dataset, tmp_path):
    assert (
        run_of(model, dataset).outcomes.to_bytes() == run_of(model, dataset, tmp_path).outcomes.to_bytes()
    )  # fmt: skip


def test_order_of_samples_changes_no_byte(model, dataset, tmp_path):
    shuffled = dataset.take(np.random.default_rng(1).permutation(45), selection="all")
    run_of(model, dataset, tmp_path / "a")
    run_of(model, shuffled, tmp_path / "b")
    for name in ("outcomes.parquet", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    a, b = (read_run(tmp_path / name).record for name in "ab")
    assert {key for key in a if a[key] != b[key]} <= {"seconds", "command", "started"}


def test_the_seed_changes_examples(model, dataset):
    assert run_of(model, dataset).outcomes.to_bytes() != run_of(model, dataset, seed=1).outcomes.to_bytes()


def test_float64_predictions_do_not_depend_on_the_block_size(model, dataset):
    tables = [run_of(model, dataset, precision="float64", batch_size=size).outcomes for size in (1, 7, 64)]
    for other in tables[1:]:
        assert (other.frame["prediction"] == tables[0].frame["prediction"]).all()


@pytest.mark.parametrize(
    ("attack", "options", "words"),
    [
        ("aa", {"engine": "reference"}, "the package's engine"),
        ("aa(version=rand)", {"allow_random": True}, "a random model"),
    ],
)
def test_autoattack_in_bf16_is_refused_where_all_of_it_would_be(attack, options, words, model, dataset):
    with pytest.raises(BadInput, match=words):
        evaluate(model, dataset, attack, eps="0.05", precision="bf16", **options)


def test_bf16_attacks_and_float32_decides(model, dataset):
    """Each verdict is the float32 model's; on this network the attack in bf16 finds as much, give or take two."""
    plain, fast = run_of(model, dataset), run_of(model, dataset, precision="bf16")
    assert fast.outcomes.of("natural").equals(plain.outcomes.of("natural"))
    assert not fast.outcomes.of("pgd5").equals(plain.outcomes.of("pgd5"))
    assert abs(int(fast.outcomes.robust("pgd5").sum()) - int(plain.outcomes.robust("pgd5").sum())) <= 2


def test_a_finished_run_is_read_and_not_repeated(model, dataset, tmp_path):
    first = run_of(model, dataset, tmp_path)
    stamp = (tmp_path / "outcomes.parquet").stat().st_mtime_ns
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    assert run_of(model, dataset, tmp_path).outcomes.to_bytes() == first.outcomes.to_bytes()
    assert (tmp_path / "outcomes.parquet").stat().st_mtime_ns == stamp
    assert not calls


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed = 0 there, but 1 here"),
        ({"eps": "0.05"}, "threat = Linf 0.1 there, but Linf 0.05 here"),
        ({"attacks": ["fgsm"]}, "attacks = "),
        ({"precision": "float64"}, "precision = float32 there, but float64 here"),
        ({"batch_size": 8}, "batch size = 16 there, but 8 here"),
    ],
)
def test_a_folder_of_another_run_is_refused(change, words, model, dataset, tmp_path):
    run_of(model, dataset, tmp_path)
    with pytest.raises(BadInput, match=words):
        run_of(model, dataset, tmp_path, **change)


def test_other_weights_and_other_samples_are_another_run(model, dataset, tmp_path):
    run_of(model, dataset, tmp_path)
    with pytest.raises(BadInput, match="dataset = "):
        run_of(model, dataset.take(np.arange(44), selection="all"), tmp_path)
    model[3].bias.data[0] += 1e-6
    with pytest.raises(BadInput, match=r"model = sha256 .* there, but sha256"):
        run_of(model, dataset, tmp_path)


def test_a_folder_that_cannot_be_used_is_found_first(model, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="output folder"):
            run_of(model, dataset, place)
    assert not calls


def test_arrays_and_the_number_of_classes_from_the_model(model):
    x = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    y = model(x).argmax(1)
    run = evaluate(model, x, "fgsm", eps="0.1", y=y)
    assert run.num_classes == 5
    same = evaluate(model, (x.numpy() * 255).round().astype("uint8"), "fgsm", eps="0.1", y=y.tolist())
    assert same.num_classes == 5
    with pytest.raises(BadInput, match="labels"):
        evaluate(model, x, "fgsm", eps="0.1")
    with pytest.raises(BadInput, match="its own"):
        evaluate(model, "digits", "fgsm", y=y)


def test_the_public_name_and_a_registry_data_set():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    data = fairbench.evaluate(model, "digits", ["fgsm"], accept=["low-accuracy"])
    assert data.record["threat"]["eps_text"] == "0.1"
    assert len(data.outcomes.of("fgsm")) == 900


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": None}, "no default radius"),
        ({"eps": "9"}, "must lie in"),
        ({"norm": "L3"}, "unknown norm"),
        ({"norm": "L1"}, "not L1|norm is L1"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"precision": "half"}, "unknown precision"),
        ({"engine": "fast"}, "unknown engine 'fast'"),
        ({"engine": "reference", "attacks": "aa(version=plus)"}, "use --engine native"),
        ({"device": "tpu"}, "device"),
        ({"attacks": []}, "no attack"),
        ({"attacks": ["pgd20", "pgd20_003"]}, "fixes the radius"),
        ({"accept": ["nan-logits"]}, "cannot be accepted"),
    ],
)
def test_bad_arguments(options, words, model, dataset):
    with pytest.raises(BadInput, match=words) as error:
        run_of(model, dataset, **options)
    assert len(str(error.value)) < 600


def test_a_preset_sets_the_radius(model, dataset):
    run = run_of(model, dataset, attacks=["fgsm", "pgd20_003_031"], eps=None)
    assert run.record["threat"]["eps_text"] == "0.031"


def test_the_reference_engine_needs_four_classes_and_ours_does_not():
    three = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3)).eval()
    x = torch.rand(6, 1, 6, 6)
    y = three(x).argmax(1)
    with pytest.raises(BadInput, match="at least 4 classes"):
        evaluate(three, x, "aa", eps="0.1", y=y, engine="reference")
    run = evaluate(three, x, "aa(steps=5,queries=20)", eps="0.01", y=y)
    assert run.record["attacks"]["aa(steps=5,queries=20)"]["parts"]["apgd-t"]["targets"] == 2


def test_the_model_and_global_state_come_back(model, dataset):
    model[0].weight.requires_grad_(False)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    run_of(model, dataset, threads=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_the_parts_of_autoattack_are_in_the_table(model, dataset):
    """aa is never more robust than a part; the parts only ever lose samples."""
    few = dataset.take(np.argsort(dataset.index)[:6], selection="6")
    run = run_of(model, few, attacks=["aa"], eps="0.04")
    parts = [f"aa/{name}" for name in ("apgd-ce", "apgd-t", "fab-t", "square")]
    assert set(run.outcomes.attacks) == {"natural", "aa", *parts}
    verdicts = [run.outcomes.robust(name) for name in ("natural", *parts)]
    for before, after in itertools.pairwise(verdicts):
        assert (after <= before).all()
    assert run.outcomes.robust("aa").tolist() == verdicts[-1].tolist()
    assert set(run.record["attacks"]) == {"aa"}


def test_attacks_of_a_run_begin_at_the_same_point(model, dataset):
    """T = 1 is PGD to the last bit, and a keyword that changes nothing changes nothing."""
    run = run_of(model, dataset, attacks=["pgd5", "tpgd5(T=1)", "pgd5(restarts=1)"])
    plain = run.outcomes.of("pgd5").drop(columns="attack")
    for name in ("tpgd5(T=1)", "pgd5(restarts=1)"):
        assert run.outcomes.of(name).drop(columns="attack").equals(plain)
