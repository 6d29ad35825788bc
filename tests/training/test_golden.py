"""The first epochs on real digits, as they were when the methods were checked: a change of numbers is a decision.

In float64: in float32 the order in which a processor's vector instructions add is seen in the second digit after three
epochs, since steps of the attack follow signs of gradients, some of which are almost zero. A changed coefficient, step,
start, order or schedule is seen in the first digits.
"""

from __future__ import annotations

import pytest

GOLDEN: dict[str, list[float]] = {
    "natural": [1.8621793, 0.5350617, 0.2112990],
    "sat": [2.1265430, 1.1976322, 0.8443773],
    "trades": [2.0150481, 1.3850614, 1.2829886],
    "rslad": [0.04493989, 0.02786313, 0.02182493],
    "absld": [0.04493989, 0.02818321, 0.02244040],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_loss_curve(tiny, name):
    job = tiny.job(name, samples=20, epochs=3, batch_size=20, hyper={"steps": 5})
    for dataset in (job.train, job.validation):
        dataset.x = dataset.x.double() / 255  # the constructor takes stored bytes only
    for network in (job.network, *(teacher.model for teacher in job.method.teachers.values())):
        network.double()
    training = tiny.training(job)
    training.run()
    assert [line["loss"]["total"] for line in training.log] == pytest.approx(GOLDEN[name], rel=1e-6)
