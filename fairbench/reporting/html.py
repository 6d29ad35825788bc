"""A report as one HTML file: style, script and plots inside, nothing from the network, every name escaped.

Its Content-Security-Policy lets nothing load and no script run but the one whose hash it names, so that even a hole
in the escaping could not run a class name.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fairbench.reporting import plot_style
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.page import Page


def render(page: Page) -> str:
    """Return the report as HTML; the same page gives the same text."""
    environment = Environment(
        loader=PackageLoader("fairbench.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Plots are SVG that matplotlib wrote and escaped; everything else goes through autoescape.
    environment.filters["inline"] = lambda svg, key: Markup(plot_style.inline(svg, key))
    environment.filters["beside_number"] = beside_number
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("report.html.j2").render(
        page=page,
        style=Markup(_asset("style.css")),
        script=Markup(script),
        script_hash=Markup(f"sha256-{digest}"),
    )
    # The last script is our own, to the letter; a name that says "<script>" is escaped.
    body, end = text.rsplit("<script>", 1)
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    return "\n".join([*lines, f"<script>{end.rstrip()}"]) + "\n"


def _asset(name: str) -> str:
    return resources.files("fairbench.reporting").joinpath("templates", name).read_text(encoding="utf-8").strip()
