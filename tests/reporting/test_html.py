"""The page as a parser sees it: structure, names that stay text, nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from fairbench.reporting.html import render
from fairbench.reporting.page import build_page
from fairbench.reporting.view import view_runs
from fairbench.runs import Run

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the text of each kind of element, and tags that were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def several(two_models_two_samples: list[Run]) -> str:
    return render(build_page(view_runs(two_models_two_samples)))


def test_the_page_is_well_formed_with_headings_in_order(several: str, evil: Run) -> None:
    for text in (several, render(build_page(view_runs([evil])))):
        page = Page(text)
        assert page.wrong == []
        assert page.open == []
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.all("html")[0]["lang"] == "en"


def test_ids_are_unique_and_every_reference_has_its_target(several: str) -> None:
    page = Page(several)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [href[1:] for _, a in page.elements if (href := a.get("href") or "").startswith("#")]
    wanted += [name for _, a in page.elements for name in (a.get("aria-labelledby") or "").split()]
    assert wanted
    assert set(wanted) <= set(ids)


def test_tables_have_captions_and_scopes_and_scroll_in_a_box_of_their_own(several: str) -> None:
    page = Page(several)
    tables = page.all("table")
    assert len(tables) >= 8
    assert len(page.all("caption")) == len(tables)
    assert all("scope" in attributes for attributes in page.all("th"))
    boxes = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert len(boxes) == len(tables)
    assert all(a.get("tabindex") == "0" and a.get("role") == "region" for a in boxes)
    shown = [a["aria-label"] for a in boxes]
    assert len(shown) == len(set(shown)), "regions are told apart by their labels"


def test_every_plot_has_a_name_and_its_numbers(several: str) -> None:
    page = Page(several)
    plots = page.all("svg")
    assert len(plots) == len(page.all("figure")) == 26
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in plots)
    figures = re.findall(r"<figure.*?</figure>", several, re.DOTALL)
    assert all("The numbers" in figure for figure in figures)


def test_the_story_is_told_at_the_top(several: str) -> None:
    top = several[: several.index('id="comparison"')]
    for words in ("Highest worst class: second", "Highest average: second", "expected if all classes were equal"):
        assert words in top
    assert "On toy test: 20 images, first 2 of each class (2 per class); Linf, eps 8/255:" in top


def test_a_single_run_shows_the_worst_class_with_interval_expectation_and_probability(ten: Callable[..., Run]) -> None:
    page = Page(render(build_page(view_runs([ten("a")]))))
    text = " ".join(words for _, words in page.texts)
    assert "net: robustness of each class" in text
    for words in (
        "Worst class: cat",
        "95\u00a0% interval",
        "expected if all classes were equal",
        "Is “cat” really the worst?",
    ):
        assert words in text
    assert "No flag was raised." in text
    assert not page.all("details") or all(a.get("class") == "numbers-of" for a in page.all("details"))


def test_nothing_is_loaded_from_anywhere(several: str) -> None:
    page = Page(several)
    assert not re.search(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?\s*(?:https?:)?//""", several)
    assert not re.search(r"url\(\s*['\"]?(?!#)", several)
    assert "@import" not in several
    assert {tag for tag, _ in page.elements} & {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "video",
    } == set()
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy


def test_only_our_own_script_may_run(several: str, evil: Run) -> None:
    scripts = []
    for text in (several, render(build_page(view_runs([evil])))):
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in text
        scripts.append(script)
    assert scripts[0] == scripts[1], "nothing of a run is written into the script"


def test_markup_in_every_name_stays_text(evil: Run) -> None:
    text = render(build_page(view_runs([evil])))
    page = Page(text)
    assert page.wrong == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "b", "i"}
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = {words for _, words in page.texts}
    for name in evil.class_names:
        assert any(name in words for words in shown), name


def test_flags_and_overridden_checks_stand_above_the_numbers(ten: Callable[..., Run]) -> None:
    flag = {"name": "zero-gradient", "severity": "warning", "class": 3, "evidence": "12 of 20", "advice": "use aa"}
    accepted = {"name": "range", "severity": "accepted", "class": None, "evidence": "pixels up to 255", "advice": "-"}
    text = render(build_page(view_runs([ten("a", flags=[flag, accepted], accepted=["range", "unused"])])))
    top = text[: text.index('id="headline"')]
    assert "1 flag raised:" in top
    assert "zero-gradient" in top
    assert "Check overridden</strong> for net: range (pixels up to 255)." in top
    assert "unused" not in top, "a check that did not refuse was not overridden"


def test_many_classes_are_cut_on_the_page_and_whole_in_the_files(make_run: Callable[..., Run]) -> None:
    """Two runs of 150: 300 rows of accuracies stay whole, other tables by class are cut; twice 600 are all cut."""
    for classes, whole in ((150, True), (600, False)):
        names = [f"class {i} of them" for i in range(classes)]
        hits = {
            "natural": [2] * classes,
            "pgd20": [i % 3 for i in range(classes)],
            "aa": [i % 2 for i in range(classes)],
        }
        runs = [make_run(f"{classes}-{i}", hits, 2, names=names, model=f"m{i}") for i in range(2)]
        page = build_page(view_runs(runs))
        text = render(page)
        rows = {name: len(re.findall("<tr>", body)) for name, body in re.findall(
            r'<table id="table-([^"]+)".*?<tbody>(.*?)</tbody>', text, re.DOTALL)}  # fmt: skip
        assert rows["set1-class-by-run"] == classes
        assert rows[f"{classes}-0-classes"] == (classes if whole else 25)
        assert rows[f"{classes}-0-why"] == 25
        assert f"all are in tables/{classes}-0-why.csv beside this page." in text
        assert {len(t.rows) for t in page.tables if t.name.endswith(("-why", "-gains", "-classes"))} == {classes}
