from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairbench.attacks import (
    ATTACKS,
    describe_attacks,
    describe_presets,
    parse_attack,
    parse_attacks,
    preset_eps,
    split_attacks,
)
from fairbench.errors import BadInput
from fairbench.threat import Threat

LINF = Threat.parse("Linf", "8/255")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fgsm", {"steps": 1, "start": "none", "step_size": 8 / 255, "restarts": 1}),
        ("pgd20", {"steps": 20, "start": "uniform", "step_size": 2 / 255, "restarts": 1, "early_stop": False}),
        ("cw30", {"steps": 30, "start": "uniform", "step_size": 2 / 255, "kappa": None, "objective": "margin"}),
        ("kl10", {"steps": 10, "start": "normal", "step_size": 2 / 255}),
        ("kl10(step_size=7/31*eps)", {"steps": 10, "step_size": 7 / 31 * 8 / 255}),
        ("tpgd20(T=0.5)", {"T": 0.5, "where": "divide", "steps": 20}),
        ("pgd100( step_size = 0.003, restarts=5 )", {"steps": 100, "step_size": 0.003, "restarts": 5}),
        (
            "pgd7(step_size=2/255,start=none,early_stop=yes)",
            {"step_size": 2 / 255, "start": "none", "early_stop": True},
        ),
    ],
)
def test_resolved_keywords(text, expected):
    resolved = parse_attack(text).resolved(LINF, 10)
    assert {key: resolved[key] for key in expected} == pytest.approx(expected)
    assert resolved["eps"] == 8 / 255
    assert resolved["norm"] == "Linf"


def test_the_name_is_the_string_without_spaces():
    assert parse_attack(" pgd100( step_size = 0.003 ,restarts=5)").name == "pgd100(step_size=0.003,restarts=5)"


def test_autoattack_says_its_parts():
    resolved = parse_attack("aa").resolved(LINF, 10)
    assert list(resolved["parts"]) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert resolved["parts"]["square"] == {"queries": 5000, "restarts": 1}
    assert resolved["parts"]["apgd-t"] == {"steps": 100, "restarts": 1, "targets": 9, "draws": 1}
    assert parse_attack("aa").resolved(LINF, 4)["parts"]["fab-t"] == {"steps": 100, "restarts": 1, "targets": 3}
    sparse = parse_attack("aa").resolved(Threat.parse("L1", "12"), 10)["parts"]
    assert sparse["apgd-ce"] == {"steps": 100, "restarts": 5, "draws": 1, "staged": True}
    assert (sparse["apgd-t"]["targets"], sparse["fab-t"]["targets"]) == (5, 9)


def test_autoattack_in_other_versions():
    plus = parse_attack("aa(version=plus)").resolved(LINF, 10)["parts"]
    assert list(plus) == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert [plus[name]["restarts"] for name in plus] == [5, 5, 5, 1, 1, 1]
    rand = parse_attack("aa(version=rand)").resolved(LINF, 10)["parts"]
    assert {name: rand[name]["draws"] for name in rand} == {"apgd-ce": 20, "apgd-dlr": 20}
    own = parse_attack("aa(parts=square+apgd-ce,queries=50,steps=7)").resolved(LINF, 10)["parts"]
    assert list(own) == ["square", "apgd-ce"]
    assert own["square"]["queries"] == 50
    assert own["apgd-ce"]["steps"] == 7
    with pytest.raises(BadInput, match="Did you mean 'apgd-ce'"):
        parse_attack("aa(parts=apgd-c)")
    with pytest.raises(BadInput, match="twice"):
        parse_attack("aa(parts=square+square)")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("aa", "standard"),
        ("aa(version=plus)", "plus"),
        ("aa(steps=100,queries=5000)", "standard"),
        ("aa(parts=apgd-ce+apgd-t+fab-t+square)", "standard"),
        ("aa(parts=square+apgd-ce+apgd-t+fab-t)", "custom"),
        ("aa(steps=10)", "custom"),
        ("aa(version=plus,queries=100)", "custom"),
        ("aa(parts=square)", "custom"),
    ],
)
def test_a_reduced_budget_is_no_published_version(text, version):
    assert parse_attack(text).resolved(LINF, 10)["version"] == version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("autoattack", "Did you mean 'aa'"),
        ("AutoAttack", "Did you mean 'aa'"),
        ("apgd-t", "Did you mean 'aa(parts=apgd-t)'"),
        ("square", "Did you mean 'aa(parts=square)'"),
        ("auto_attack", "Did you mean 'aa'"),
        ("autoattack(version=plus)", "Did you mean 'aa(version=plus)'"),
        ("apgd-ce(steps=50)", "Did you mean 'aa(parts=apgd-ce,steps=50)'"),
        ("aa(parts=square,steps=10)", "but its parts are square"),
        ("aa(version=rand,queries=10)", "gives queries, which only square takes"),
        ("pgdd20", "Did you mean 'pgd20'"),
        ("tpgd20(t=0.5)", "unknown keyword of tpgd"),
        ("tpdg20(T=2)", "Did you mean 'tpgd20(T=0.5)'"),
        ("PGD20", "Did you mean 'pgd20'"),
        ("TPGD20(T=0.5)", "Did you mean 'tpgd20(T=0.5)'"),
        ("PGD20_003", "Did you mean 'pgd20_003'"),
        ("pgd20_0033", "Did you mean 'pgd20_003'"),
        ("", "unknown attack"),
        ("natural", "unknown attack"),
        ("pgd", "needs its number of steps"),
        ("pgd0", "needs its number of steps"),
        ("pgd020", "needs its number of steps"),
        ("pgd1234567", "needs its number of steps"),
        ("fgsm3", "takes no number of steps"),
        ("aa2", "takes no number of steps"),
        ("pgd20(step=1)", "Did you mean 'step_size'"),
        ("pgd20(kappa=1)", "unknown keyword of pgd"),
        ("aa(versoin=plus)", "unknown keyword of aa"),
        ("aa(version=fast)", "unknown value of version"),
        ("pgd20()", "name=value"),
        ("pgd20(restarts)", "name=value"),
        ("pgd20(restarts=)", "name=value"),
        ("pgd20(restarts=2,restarts=3)", "twice"),
        ("pgd20(restarts=0)", "at least 1"),
        ("pgd20(restarts=1.5)", "at least 1"),
        ("pgd20(restarts=٣)", "at least 1"),
        ("pgd20(step_size=0)", "above 0"),
        ("pgd20(step_size=0*eps)", "above 0"),
        ("pgd20(step_size=1/4*epsilon)", "decimal or a fraction"),
        ("pgd20(step_size=-1)", "decimal or a fraction"),
        ("pgd20(step_size=nan)", "decimal or a fraction"),
        ("pgd20(start=zero)", "unknown value of start"),
        ("pgd20(early_stop=true)", "unknown value of early_stop"),
        ("tpgd20", "needs T"),
        ("tpgd20(T=0)", "T of tpgd"),
        ("tpgd20(T=1e-9)", "T of tpgd"),
        ("pgd20_003(restarts=2)", "takes no keywords"),
        ("pgd20_0034", "unknown attack"),
        ("pgd20(", "unknown attack"),
        ("pgd20)", "unknown attack"),
        ("pgd" + "2" * 5000, "needs its number of steps"),
        ("x" * 5000, "unknown attack"),
    ],
)
def test_bad_strings_get_one_short_sentence(text, words):
    with pytest.raises(BadInput) as error:
        parse_attack(text)
    assert words in str(error.value)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


@given(st.text(alphabet="pgdcwfsmkltaT0123456789()=,._ /-", max_size=30))
def test_any_text_is_parsed_or_refused(text):
    """Whatever is typed ends in a configuration whose name parses to itself, or in a short sentence."""
    refusal = ""
    try:
        config = parse_attack(text)
    except BadInput as error:
        refusal = str(error)
    if refusal:
        assert len(refusal) < 600
    else:
        assert parse_attack(config.name) == config
        assert config.family in ATTACKS


@given(
    st.lists(
        st.sampled_from(["fgsm", "pgd20(restarts=5,step_size=0.003)", "tpgd3(T=2)", "aa", "cw_k50_003"]), min_size=1
    )
)
def test_split_is_the_inverse_of_join(items):
    assert split_attacks(" , ".join(items)) == items


@pytest.mark.parametrize("text", ["", "fgsm,,pgd20", ",", "pgd20(", "pgd20)", "a)(b", "pgd20((restarts=2)"])
def test_senseless_lists_are_refused(text):
    with pytest.raises(BadInput):
        parse_attacks(split_attacks(text))


def test_one_radius_per_run():
    assert preset_eps(parse_attacks(["fgsm", "pgd20_003"])) == "8/255"
    assert preset_eps(parse_attacks(["fgsm"])) is None
    with pytest.raises(BadInput, match="two radii"):
        parse_attacks(["pgd20_003", "pgd20_003_031"])
    with pytest.raises(BadInput, match="fixes the radius"):
        parse_attack("pgd20_003").check(Threat.parse("Linf", "4/255"))
    with pytest.raises(BadInput, match="Linf"):
        parse_attack("pgd20_003").check(Threat.parse("L2", "0.5"))
    parse_attack("pgd20_003").check(Threat.parse("Linf", str(8 / 255)))


def test_norms():
    with pytest.raises(BadInput, match="L1"):
        parse_attack("pgd20").check(Threat.parse("L1", "12"))
    parse_attack("pgd20").check(Threat.parse("L2", "0.5"))


def test_an_attack_given_twice_is_refused():
    with pytest.raises(BadInput, match="twice"):
        parse_attacks(["pgd20", " pgd20"])


def test_the_list_names_everything_in_words_that_parse():
    for name, text in [*describe_attacks(), *describe_presets()]:
        assert parse_attack(name).name == name
        assert text
