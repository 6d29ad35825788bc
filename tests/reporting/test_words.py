from __future__ import annotations

from collections.abc import Callable

import pytest

from fairbench.reporting.view import view_runs
from fairbench.reporting.words import (
    listed,
    meaning,
    probability,
    run_line,
    run_numbers,
    set_meaning,
    set_numbers,
    set_sentence,
    worst_words,
)
from fairbench.runs import Run


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2013", "-").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.995, "> 99 %"), (1.0, "> 99 %"), (0.0, "< 1 %"), (0.874, "87 %"), (0.99, "99 %"), (None, "unknown")],
)
def test_a_probability_never_claims_certainty(value: float | None, text: str) -> None:
    assert _plain(probability(value)) == text


def test_the_headline_of_a_run_names_the_worst_class_with_all_that_belongs_to_it(ten: Callable[..., Run]) -> None:
    view = view_runs([ten("r")])[0].views[0]
    average, worst, sure = run_numbers(view, "aa")
    assert (average.label, _plain(average.value)) == ("Average under aa (AutoAttack)", "52.0 %")
    assert _plain(average.lines[1]) == "natural accuracy 83.0 %"
    assert (worst.label, _plain(worst.value)) == ("Worst class: cat", "5.0 %")
    metrics = view.of("aa")
    low, high = metrics["interval"]["worst_class"]
    expected = metrics["if_equal"]["worst_class"]["expected"]
    assert _plain(worst.lines[0]) == f"95 % interval {100 * low:.1f}-{100 * high:.1f}"
    assert _plain(worst.lines[1]) == f"{100 * expected:.1f} % expected if all classes were equal"
    assert sure.label == "Is “cat” really the worst?"
    assert sure.lines == ("probability, given these images", "20 images per class")
    for words in (worst_words(view, "aa"), run_line(view, "aa")):
        assert f"{100 * low:.1f}-{100 * high:.1f}" in _plain(words)
        assert f"{100 * expected:.1f} % if all classes were equal" in _plain(words)


def test_meaning_says_when_a_low_class_is_more_than_chance(ten: Callable[..., Run]) -> None:
    """1 of 20 cats against 52 % on average: ten equal classes show 5 % with probability far below 2.5 %."""
    text = _plain(meaning(view_runs([ten("r")])[0].views[0], "aa"))
    assert text.startswith(
        "Under aa (AutoAttack) the model is right on 52.0 % of all images, but on 5.0 % of “cat”. "
        "Chance alone would hardly do that: equally robust classes would, with as many images, still show "
        "a lowest class near"
    )


def test_meaning_says_when_a_low_class_could_be_chance(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [18] * 10, "pgd20": [10, 11, 9, 10, 12, 10, 10, 11, 10, 10]}, 20)
    text = _plain(meaning(view_runs([run])[0].views[0], "pgd20"))
    assert "on 45.0 % of “bird”. That could be chance: equally robust classes would" in text
    assert "not settled" not in text, "who is worst does not matter where nobody is"


def test_a_broken_model_gets_one_sentence(make_run: Callable[..., Run]) -> None:
    view = view_runs([make_run("r", {"natural": [9, 9], "pgd20": [0, 0]}, 10)])[0].views[0]
    assert meaning(view, "pgd20") == "Under pgd20 the model classifies none of the 20 images correctly."


def test_equal_classes_have_no_worst_one(make_run: Callable[..., Run]) -> None:
    view = view_runs([make_run("r", {"natural": [10, 10], "pgd20": [8, 8]}, 10)])[0].views[0]
    text = _plain(meaning(view, "pgd20"))
    assert text == "Under pgd20 the model is right on 80.0 % of every class: none is lower than another."


def test_a_lead_is_claimed_only_where_paired_images_decide_it(ten: Callable[..., Run]) -> None:
    close = view_runs([ten("a", "first"), ten("b", "second", better=1)])[0]
    best, _, sure = set_numbers(close, "aa")
    assert best.label == "Highest worst class: second"
    assert (sure.label, sure.value) == ("Is second's worst class higher than first's?", "not decided")
    assert "whether it is above first's is not decided (5.0 points" in _plain(set_sentence(close, "aa"))


def test_a_clear_lead_is_claimed(make_run: Callable[..., Run]) -> None:
    weak = make_run("a", {"natural": [95, 95], "pgd20": [80, 5]}, 100, model="weak")
    strong = make_run("b", {"natural": [95, 95], "pgd20": [80, 75]}, 100, model="strong")
    one = view_runs([weak, strong])[0]
    assert set_numbers(one, "pgd20")[2].value == "yes"
    assert "it is above weak's (70.0 points" in _plain(set_sentence(one, "pgd20"))


def test_what_runs_have_in_common(ten: Callable[..., Run], make_run: Callable[..., Run]) -> None:
    one = view_runs([ten("a", "first"), ten("b", "second", better=1)])[0]
    assert set_meaning(one, "aa") == (
        "Under aa (AutoAttack), the worst class is “cat” in 2 of 2 models. "
        "In 2 of 2 it is lower than chance would explain if all classes were equally robust."
    )
    dead = make_run("c", {"natural": [18] * 10, "pgd20": [0] * 10, "aa": [0] * 10}, 20, model="dead")
    mixed = view_runs([ten("d", "first"), dead])[0]
    assert set_meaning(mixed, "aa").startswith("Under aa (AutoAttack), dead classifies nothing correctly.")
    assert "“cat” in 1 of 1 models" in set_meaning(mixed, "aa")


def test_with_many_classes_the_worst_tenth_stands_beside_the_worst(make_run: Callable[..., Run]) -> None:
    """Of 20 classes the worst tenth are two: (1 + 3) / 2 of 10 images are 20 %."""
    run = make_run("r", {"natural": [9] * 20, "pgd20": [1, 3, *[6] * 18]}, 10, names=[f"c{i}" for i in range(20)])
    worst = run_numbers(view_runs([run])[0].views[0], "pgd20")[1]
    assert _plain(worst.lines[2]).startswith("worst 10 % of classes: 20.0 %, 95 % interval ")


def test_lists_in_words() -> None:
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")


def test_what_a_flag_doubts_says_so_wherever_it_is_told(ten: Callable[..., Run]) -> None:
    def flag(name: str, severity: str) -> dict[str, object]:
        return {"name": name, "severity": severity, "class": None, "evidence": "e", "advice": "a"}

    doubted = ten("b", "second", better=2, flags=[flag("square-wins", "serious"), flag("x", "accepted")])
    accepted = ten("a", "first", flags=[flag("random-model", "accepted")])
    clean, masked = view_runs([accepted, doubted])[0].views
    assert masked.raised == ("square-wins",)
    assert meaning(masked, "aa").endswith(" It may be less: the run is flagged (square-wins).")
    assert run_line(masked, "aa").endswith("; flagged, may be less")
    for said in (meaning(masked, "natural"), run_line(masked, "natural"), meaning(clean, "aa"), run_line(clean, "aa")):
        assert "flagged" not in said
    both = view_runs([accepted, doubted])[0]
    best, average, _ = set_numbers(both, "aa")
    assert (best.label, average.label) == ("Highest worst class: second (flagged)", "Highest average: second (flagged)")
    assert set_sentence(both, "aa").count("second's (flagged)") == 2
    assert "flagged" not in set_sentence(both, "natural") + "".join(n.label for n in set_numbers(both, "natural"))


def test_runs_that_share_no_worst_class_are_said_so_at_once(make_run: Callable[..., Run]) -> None:
    hits = [[5, 5, 5, 5, 5] for _ in range(4)]
    for place, row in enumerate(hits):
        row[place] = 1
    runs = [make_run(f"r{i}", {"natural": [9] * 5, "pgd20": row}, 10, model=f"m{i}") for i, row in enumerate(hits)]
    (one,) = view_runs(runs)
    assert set_meaning(one, "pgd20").startswith("Under pgd20, each of the 4 models has another worst class.")


def test_many_classes_have_the_worst_tenth_in_the_headline_of_several_runs(make_run: Callable[..., Run]) -> None:
    """Of 20 classes the two lowest: 1 and 2 of 10, so 15 %."""
    hits = {"natural": [9] * 20, "pgd20": [1, 2, *[6] * 18]}
    names = [f"c{i}" for i in range(20)]
    (one,) = view_runs([make_run(f"r{i}", hits, 10, model=f"m{i}", names=names) for i in range(2)])
    assert any(
        line.startswith("worst 10\u00a0% of classes: 15.0\u00a0%, 95") for line in set_numbers(one, "pgd20")[0].lines
    )
    (few,) = view_runs([make_run(f"s{i}", {"pgd20": [1, 2, 3]}, 10, model=f"m{i}") for i in range(2)])
    assert not any("worst 10" in line for line in set_numbers(few, "pgd20")[0].lines)
