"""Pages of many classes and of many runs in a real browser: keys, widths, shifts, accessibility and paper."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.reporting.report import write_report
from fairbench.runs import Run

pytestmark = pytest.mark.browser

#: Pages: how many runs of how many classes.
SIZES = {"100 classes": (1, 100), "1,000 classes": (2, 1_000), "10 runs": (10, 10)}
STORY = ["headline", "classes", "why", "comparison", "models", "samples", "flags", "provenance", "reading"]
#: What lies wholly or partly beyond the right edge and can be reached by no scrolling.
BEYOND = """Array.from(document.querySelectorAll("body *")).filter(node => node.getClientRects().length
  && node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll") && !node.closest("svg")
  && !node.classList.contains("quiet")).map(node => node.tagName + "." + node.className)"""
CUT = """Array.from(document.querySelectorAll(".scroll")).filter(box => box.getClientRects().length && (
  box.scrollWidth > box.clientWidth + 1 || box.firstElementChild.getBoundingClientRect().right > innerWidth + 1
)).map(box => box.getAttribute("aria-label") + " " + box.scrollWidth + " > " + box.clientWidth)"""
#: Short names, such as "pgd100", and intervals that a line break makes read as another one.
BROKEN = """Array.from(document.querySelectorAll("td.text, td small")).filter(cell => {
  if (!cell.getClientRects().length || cell.textContent.length > 12) { return false; }
  const text = document.createRange();
  text.selectNodeContents(cell);
  return new Set(Array.from(text.getClientRects()).map(one => Math.round(one.top))).size > 1;
}).map(cell => cell.textContent)"""
SHIFT = """new Promise(done => { let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(one => { sum += one.value; }))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 300); })"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, runs_in: Callable[[Path], Callable[..., Run]]) -> dict[str, Path]:
    """The page of each size, from runs of 10 images per class whose names are as long as ImageNet's."""
    found = {}
    for size, (runs, classes) in SIZES.items():
        folder = tmp_path_factory.mktemp("large")
        make, folders = runs_in(folder), []
        names = [f"class number {c}, also called the {c}th of its kind" for c in range(classes)]
        for place in range(runs):
            random = np.random.default_rng([7, place])
            natural = random.integers(5, 11, classes)
            robust = random.integers(0, 5, classes)
            hits = {"natural": natural, "pgd100": robust + random.integers(0, 2, classes), "aa": robust}
            run = make(f"run{place}", {k: v.tolist() for k, v in hits.items()}, 10, names=names,
                       model=f"model-{place}-with-a-name-of-many-letters")  # fmt: skip
            folders.append(folder / run.name)
        found[size] = write_report(folders, folder / "out").path
    return found


def _open_all(browser: Any) -> None:
    browser.run('document.querySelectorAll("details").forEach(one => { one.open = true; })')
    browser.frames()


@pytest.mark.parametrize("size", SIZES)
def test_the_sections_tell_one_story(browser: Any, pages: dict[str, Path], size: str) -> None:
    browser.resize(1280)
    browser.open(pages[size])
    order = browser.run('Array.from(document.querySelectorAll("main > section")).map(one => one.id)')
    one = [name for name in STORY if name not in ("classes", "why", "comparison")]
    assert order == (one if SIZES[size][0] == 1 else STORY)
    tops = """["#headline .numbers", "#headline .meaning", "figure[id$=class-by-run], figure[id$=-classes]",
      "[id$=why]", "#comparison", "#provenance"].map(name => document.querySelector(name))
      .filter(Boolean).map(node => node.getBoundingClientRect().top)"""
    places = browser.run(tops)
    assert len(places) == (5 if SIZES[size][0] == 1 else 6)
    assert places == sorted(places)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("size", SIZES)
def test_no_page_scrolls_sideways(browser: Any, pages: dict[str, Path], size: str, width: int) -> None:
    browser.resize(width)
    browser.open(pages[size])
    for opened in (False, True):
        if opened:
            _open_all(browser)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(BEYOND) == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_moves_while_the_page_loads(browser: Any, pages: dict[str, Path], size: str, width: int) -> None:
    browser.resize(width)
    browser.open(pages[size])
    assert browser.run(SHIFT) < 0.01


def test_the_measure_of_shifts_sees_one(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved.html"
    script = '<script>setTimeout(() => { document.querySelector("h1").style.marginBottom = "300px"; }, 100);</script>'
    moved.write_text(pages["10 runs"].read_text().replace("script-src '", "script-src 'unsafe-inline' 'none").replace(
        "</body>", f"{script}</body>").replace('http-equiv="Content-Security-Policy"', 'name="none"'))  # fmt: skip
    browser.resize(1280)
    browser.open(moved)
    assert browser.run(SHIFT) > 0.01


@pytest.mark.parametrize("size", ["100 classes", "1,000 classes"])
def test_a_long_table_is_filtered_and_sorted_by_keys_alone(browser: Any, pages: dict[str, Path], size: str) -> None:
    browser.resize(1280)
    browser.open(pages[size])
    classes = SIZES[size][1]
    browser.run('document.querySelectorAll("main > section details.numbers-of")[0].querySelector("summary").focus()')
    browser.press("Enter")
    browser.press("Tab")
    assert browser.run("document.activeElement.type") == "search"
    for sign in "number 42,":
        browser.press(sign)
    browser.run("var table = document.activeElement.closest('details').querySelector('table')")
    rows = "Array.from(table.tBodies[0].rows).filter(row => row.getClientRects().length)"
    wanted = [f"class number {c}, " for c in range(classes) if f"number {c}," == "number 42,"]
    found = browser.run(f"{rows}.map(row => row.cells[0].textContent)")
    assert [name.startswith(wanted[0]) for name in found] == [True]
    assert browser.run("table.closest('details').querySelector('output').textContent") == f"1 of {classes} rows"
    browser.run("document.activeElement.select()")
    browser.press("x")
    assert browser.run(f"{rows}.length") == 0
    browser.run("document.activeElement.value = ''; document.activeElement.dispatchEvent(new Event('input'))")
    assert browser.run(f"{rows}.length") == classes
    # To the box that scrolls, to the first heading, and on to the third.
    for _ in range(4):
        browser.press("Tab")
    assert browser.run("document.activeElement.tagName + document.activeElement.closest('th').cellIndex") == "BUTTON2"
    for direction in ("ascending", "descending"):
        browser.press("Enter")
        assert browser.run("document.activeElement.closest('th').getAttribute('aria-sort')") == direction
        values = browser.run(f"{rows}.map(row => parseFloat(row.cells[2].textContent))")
        assert len(values) == classes
        assert len(set(values)) > 3
        assert values == sorted(values, reverse=direction == "descending")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(browser: Any, axe: str, pages: dict[str, Path], size: str, width: int) -> None:
    browser.resize(width)
    browser.open(pages[size])
    # The contrast of 20,000 cells of the same few classes of text takes minutes; the smaller pages are looked at open.
    if SIZES[size][1] < 1_000:
        _open_all(browser)
    browser.run(axe + ";0")
    found = browser.run("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
                        "one => [one.id, one.impact, one.nodes.slice(0, 3).map(node => node.html)]))")  # fmt: skip
    assert [one for one in found if one[1] in ("serious", "critical")] == []


@pytest.mark.parametrize("size", SIZES)
def test_a_sheet_of_a4_cuts_no_table(browser: Any, pages: dict[str, Path], size: str) -> None:
    """At the width that A4 leaves between margins of 15 mm: 180 mm are 680 pixels."""
    browser.open(pages[size])
    try:
        browser.ask("Emulation.setEmulatedMedia", media="print")
        browser.resize(680)
        browser.run("window.dispatchEvent(new Event('beforeprint'))")
        browser.frames()
        assert browser.run(CUT) == []
        assert browser.run(BROKEN) == []
        assert browser.run(BEYOND) == []
        assert browser.run("document.documentElement.scrollWidth") <= 680
        shown = 'Array.from(document.querySelectorAll("table")).filter(one => one.getClientRects().length).length'
        assert browser.run(shown) >= 2
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")
        browser.resize(1280)
    paper = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
    assert paper.startswith(b"%PDF-")
    assert b"/MediaBox [0 0 594" in paper or b"/MediaBox [0 0 595" in paper
