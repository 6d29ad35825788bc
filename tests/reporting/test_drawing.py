from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from matplotlib.path import Path

from fairbench.reporting.chart import Chart, Key, nice_ticks
from fairbench.reporting.drawing import Drawing, Look

SVG = "{http://www.w3.org/2000/svg}"
INK = Look("#000000")


def _chart() -> Chart:
    return Chart(2.0, left=1.0, bottom=0.5, top=0.5, right=1.0, x=(0, 10), y=(100, 0))


def test_data_lie_where_the_scales_say() -> None:
    """5 inches wide with margins of 1, 2 inches high with margins of 1/2: x from 72 to 288 points, y from 36 to 108."""
    chart = _chart()
    assert chart.at(0, 100) == (72, 36)
    assert chart.at(10, 0) == (288, 108)
    assert chart.at(5, 75) == (180, 54)


def test_a_word_is_text_with_its_middle_at_the_point_and_y_downwards() -> None:
    sheet = Drawing(100, 80)
    sheet.word((10, 30), "<b> & “x”", size=10, colour="#123456", anchor="middle", bold=True, turn=90)
    (word,) = ET.fromstring(sheet.svg("t", "d")).iter(f"{SVG}text")
    assert word.text == "<b> & “x”"
    assert (word.get("x"), word.get("y")) == ("10.00", "53.60")
    assert word.get("text-anchor") == "middle"
    assert word.get("transform") == "rotate(-90.00 10.00 50.00)"


def test_shapes_of_one_look_are_one_path() -> None:
    sheet = Drawing(100, 80)
    sheet.marks([(10.0, 10.0), (20.0, 20.0), (30.0, 30.0)], "D", 4, INK)
    sheet.lines([[(0, 0), (1, 1)], [(2, 2), (3, 3), (4, 4)]], INK)
    sheet.marks([], "o", 4, INK)
    sheet.boxes([], INK)
    sheet.lines([], INK)
    paths = [node.get("d") or "" for node in ET.fromstring(sheet.svg("t", "d")).iter(f"{SVG}path")]
    # The white sheet itself, three diamonds, and two lines.
    assert [path.count("M") for path in paths] == [1, 3, 2]


def test_a_line_breaks_where_a_value_is_undefined_and_keeps_all_its_points() -> None:
    chart, nan = _chart(), math.nan
    chart.lines([[(0, 0), (1, 1), (2, nan), (3, 3), (4, 4), (5, nan), (6, 6)]], INK)
    chart.lines([[(i / 100, 50) for i in range(500)]], INK)
    with mpl.rc_context({"path.simplify": True, "path.simplify_threshold": 1.0}):
        paths = [node.get("d") or "" for node in ET.fromstring(chart.svg("t", "d")).iter(f"{SVG}path")][1:]
    assert [len(re.findall("[ML]", path)) for path in paths] == [4, 500]


@pytest.mark.parametrize(
    ("low", "high", "whole", "ticks"),
    [
        (0, 100, False, [0, 20, 40, 60, 80, 100]),
        (88.4, 101.2, False, [90, 95, 100]),
        (0.97, 3.03, True, [1, 2, 3]),
        (3.0, -0.6, False, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_within(low: float, high: float, whole: bool, ticks: list[float]) -> None:
    found = nice_ticks(low, high, whole=whole)
    assert all(min(low, high) <= tick <= max(low, high) for tick in found)
    assert set(ticks) <= set(found)
    assert len(found) <= 8


def test_a_legend_reads_row_by_row() -> None:
    chart = _chart()
    chart.legend([Key(name, INK) for name in "abcde"], columns=2)
    words = {
        node.text: (node.get("x"), node.get("y")) for node in ET.fromstring(chart.svg("t", "d")).iter(f"{SVG}text")
    }
    assert words["a"][1] == words["b"][1] != words["c"][1] == words["d"][1]
    assert words["a"][0] == words["c"][0] == words["e"][0] != words["b"][0]


def test_paths_are_told_as_svg_tells_them() -> None:
    """A bent line, a closed box and a marker, with y downwards and to a hundredth of a point."""
    sheet = Drawing(100, 80)
    codes = [Path.MOVETO, Path.CURVE3, Path.CURVE3, Path.LINETO, Path.CLOSEPOLY]
    sheet.path(Path([(0, 80), (10.126, 70), (20, 80), (30, 0.001), (0, 0)], codes), Look("#000000", dash=(4, 3)))
    sheet.boxes([(1, 2, 3, 4)], Look(fill="#123456", alpha=0.5))
    sheet.marks([(50, 40)], "s", 4, Look("#000000", "#ffffff", 0.8, round=True))
    sheet.path(Path([(0, 0), (5, 5)]), Look("#000000", width=2))
    sheet.marks([(20, 30), (20, 30)], "o", 5, INK)
    nodes = list(ET.fromstring(sheet.svg("t", "d")).iter(f"{SVG}path"))[1:]
    assert [node.get("d") for node in nodes] == [
        "M0 0Q10.13 10 20 0L30 80z", "M1 78H3V76H1z", "M48 42L52 42L52 38L48 38z", "M0 80L5 75",
        "M17.5 50a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0z",
    ]  # fmt: skip
    assert {key: value for key, value in nodes[0].attrib.items() if key != "d"} == {
        "fill": "none", "stroke": "#000000", "stroke-dasharray": "4 3",
    }  # fmt: skip
    assert (nodes[1].get("fill"), nodes[1].get("stroke"), nodes[1].get("opacity")) == ("#123456", None, "0.5")
    assert (nodes[2].get("stroke-width"), nodes[2].get("stroke-linecap")) == ("0.8", "round")
    assert nodes[3].get("stroke-width") == "2"


def test_a_plot_needs_no_figure_of_matplotlib() -> None:
    """Loading it takes longer than drawing a report's plots."""
    code = (
        "import sys, fairbench.reporting.report; print([name for name in sys.modules if name == 'matplotlib.figure'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
