"""The first epochs on real digits, as they were when the methods were checked: a change of numbers is a decision.

The losses are means over 200 images, so rounding on another processor moves them in the fourth digit or later, and a
changed coefficient, step, start, order or schedule in the first ones.
"""

from __future__ import annotations

import pytest

GOLDEN: dict[str, list[float]] = {
    "natural": [1.8621793, 0.5350618, 0.2112990],
    "sat": [2.1265431, 1.1976322, 0.8443773],
    "trades": [2.0150481, 1.3850615, 1.2829886],
    "rslad": [0.0449399, 0.0278631, 0.0218249],
    "absld": [0.0449399, 0.0281832, 0.0224404],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_loss_curve(tiny, name):
    training = tiny.training(tiny.job(name, samples=20, epochs=3, batch_size=20, hyper={"steps": 5}))
    training.run()
    assert [line["loss"]["total"] for line in training.log] == pytest.approx(GOLDEN[name], rel=2e-3)
