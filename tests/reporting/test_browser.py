"""The page in a real browser: a phone's width, sorting, accessibility, and names that try to run.

axe-core comes from the file that AXE_CORE names, or else from the package axe-core-python (in the extra `dev`), and
never from the network. A newer one than that package's, by hand:

    npm install --prefix DIR axe-core
    AXE_CORE=DIR/node_modules/axe-core/axe.min.js pytest tests/reporting/test_browser.py -k axe
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairbench.reporting.report import write_report
from fairbench.runs import Run

pytestmark = pytest.mark.browser

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

AXE = """<script>{axe}</script><script>
window.addEventListener("load", function () {{
  axe.run(document, {{resultTypes: ["violations", "incomplete"]}}).then(function (result) {{
    var said = document.createElement("pre");
    said.id = "said";
    said.textContent = JSON.stringify({{
      violations: result.violations.map(function (found) {{
        return [found.id, found.impact, found.nodes.map(function (node) {{ return node.html; }})];
      }}),
      unsure: result.incomplete.map(function (found) {{ return found.id; }}),
      passes: result.passes.length
    }});
    document.body.appendChild(said);
  }});
}});
</script></body>"""


def _ask(program: str, page: Path, width: int, folder: Path) -> dict[str, Any]:
    probe = folder / f"probe{width}.html"
    probe.write_text(PROBE.format(page=page.resolve().as_uri(), width=width))
    return _said(program, probe, 1400, folder)


def _said(program: str, page: Path, width: int, folder: Path) -> dict[str, Any]:
    arguments = [
        "--headless", "--disable-gpu", "--no-sandbox", "--allow-file-access-from-files", "--virtual-time-budget=60000",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1400", "--dump-dom", page.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    assert found[1], "the page did not load"
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    return said


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways_and_its_tables_sort(
    program: str, ten: Callable[..., Run], tmp_path: Path, width: int
) -> None:
    runs = [ten("a", "first-model-with-a-rather-long-name"), ten("b", "second", better=1)]
    report = write_report([run.folder for run in runs if run.folder is not None], tmp_path / "out")
    said = _ask(program, report.path, width, tmp_path)
    assert said["width"] <= width
    assert said["wide"] == []
    assert (said["before"], said["up"], said["down"]) == ("cat", "airplane", "truck")
    assert said["sorted"] == "descending"


def test_no_name_runs_or_becomes_an_element(program: str, evil: Run, tmp_path: Path) -> None:
    assert evil.folder is not None
    said = _ask(program, write_report([evil.folder], tmp_path / "out").path, 390, tmp_path)
    assert said["ran"] == "no"
    assert said["images"] == 0
    assert said["width"] <= 390
    assert said["wide"] == []


@pytest.mark.parametrize("width", [500, 1280])
def test_axe_finds_nothing(
    program: str, axe: str, two_models_two_samples: list[Run], evil: Run, tmp_path: Path, width: int
) -> None:
    """500 is the narrowest window that Chromium opens, and gets the same rules as a phone."""
    for name, runs in (("several", two_models_two_samples), ("one", [evil])):
        report = write_report([run.folder for run in runs if run.folder is not None], tmp_path / name)
        # Without its policy, which would keep axe from running, with everything open, and without the shade at the
        # edges of tables, in front of which axe could not tell the contrast of a text.
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.path.read_text())
        text = text.replace("<details ", "<details open ").replace(
            "</style>", ".scroll { background: none }</style>", 1
        )
        copy = tmp_path / f"{name}.html"
        copy.write_text(text.replace("</body>", AXE.format(axe=axe.replace("</script>", "<\\/script>"))))
        said = _said(program, copy, width, tmp_path)
        assert said["passes"] > 30
        assert said["violations"] == []
        # Words on a drawing and single signs; the contrast of the former is measured where the colours are made.
        assert set(said["unsure"]) <= {"color-contrast"}
