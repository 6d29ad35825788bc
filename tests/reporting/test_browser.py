"""The page in a real browser: a phone's width, sorting, printing, and names that try to run."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairbench.reporting.report import write_report
from fairbench.runs import Run

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PROBE = """<!DOCTYPE html><html><body style="margin:0"><pre id="said"></pre>
<iframe id="page" src="{page}" style="border:0;width:{width}px;height:1200px"></iframe>
<script>
document.getElementById("page").addEventListener("load", function () {{
  var page = this.contentDocument, said = {{}};
  said.ran = page.documentElement.dataset.ran || "no";
  page.querySelectorAll("details").forEach(function (item) {{ item.open = true; }});
  said.width = page.documentElement.scrollWidth;
  said.wide = Array.from(page.querySelectorAll("body *")).filter(function (node) {{
    return node.getBoundingClientRect().right > {width} + 1 && !node.closest(".scroll") && !node.closest("svg")
      && !node.classList.contains("quiet");
  }}).map(function (node) {{ return node.tagName + "." + node.className; }});
  var table = page.querySelector("[id$='-classes'] table.sortable"), button = table.querySelectorAll("th button")[0];
  function first() {{ return table.tBodies[0].rows[0].cells[0].textContent.trim(); }}
  said.before = first(); button.click(); said.up = first(); button.click(); said.down = first();
  said.sorted = table.querySelector("[aria-sort]").getAttribute("aria-sort");
  said.images = page.images.length;
  document.getElementById("said").textContent = JSON.stringify(said);
}});
</script></body></html>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        found = shutil.which(name) if name else None
        if found:
            return found
    pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)} and the program that CHROMIUM names)")


def _ask(chromium: str, page: Path, width: int, folder: Path) -> dict[str, Any]:
    probe = folder / f"probe{width}.html"
    probe.write_text(PROBE.format(page=page.resolve().as_uri(), width=width))
    arguments = [
        "--headless", "--disable-gpu", "--no-sandbox", "--allow-file-access-from-files", "--virtual-time-budget=8000",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1400", "--dump-dom", probe.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run([chromium, *arguments], capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    assert found[1], "the page did not load"
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    return said


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways_and_its_tables_sort(
    chromium: str, ten: Callable[..., Run], tmp_path: Path, width: int
) -> None:
    runs = [ten("a", "first-model-with-a-rather-long-name"), ten("b", "second", better=1)]
    report = write_report([run.folder for run in runs if run.folder is not None], tmp_path / "out")
    said = _ask(chromium, report.path, width, tmp_path)
    assert said["width"] <= width
    assert said["wide"] == []
    assert (said["before"], said["up"], said["down"]) == ("cat", "airplane", "truck")
    assert said["sorted"] == "descending"


def test_no_name_runs_or_becomes_an_element(chromium: str, evil: Run, tmp_path: Path) -> None:
    assert evil.folder is not None
    said = _ask(chromium, write_report([evil.folder], tmp_path / "out").path, 390, tmp_path)
    assert said["ran"] == "no"
    assert said["images"] == 0
    assert said["width"] <= 390
    assert said["wide"] == []
