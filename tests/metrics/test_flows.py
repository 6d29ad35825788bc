"""Confusion as a graph, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.errors import BadInput
from fairbench.metrics.flows import FlowsByAttack, already_wrong, flows
from fairbench.outcomes import Outcomes

#: 10 cats: 4 right, 5 to dog, 1 to bird. 20 dogs: 17 right, 3 to cat. 5 birds, all right. No ship.
CONFUSION = [[4, 5, 1, 0], [3, 17, 0, 0], [0, 0, 5, 0], [0, 0, 0, 0]]


def test_edges_by_hand():
    found = flows(CONFUSION)
    assert found.count.tolist() == [10, 20, 5, 0]
    assert found.sent.tolist() == [6, 3, 0, 0]
    assert found.received.tolist() == [3, 5, 1, 0]
    told = [(e.source, e.target, e.count, e.share_of_class, e.share_of_broken) for e in found.edges]
    assert told == [(0, 1, 5, 0.5, 5 / 6), (1, 0, 3, 0.15, 1.0), (0, 2, 1, 0.1, 1 / 6)]


def test_main_target_and_source():
    found = flows(CONFUSION)
    assert found.main_target(0) == found.edges[0]
    assert found.main_source(0) == found.edges[1]
    assert found.main_target(2) is None
    assert found.main_source(3) is None
    tie = flows([[0, 2, 2], [1, 0, 0], [1, 0, 0]])
    assert tie.main_target(0).target == 1
    assert tie.main_source(0).source == 1


def test_sent_equals_received_over_all_classes():
    cells = np.random.default_rng(0).integers(0, 9, (12, 12))
    found = flows(cells)
    assert found.sent.sum() == found.received.sum() == sum(edge.count for edge in found.edges)
    assert found.count.sum() == cells.sum()


@pytest.mark.parametrize("table", [[[1, 2, 3], [4, 5, 6]], [[1.0, 2.0], [3.0, 4.0]], [[1, -1], [0, 2]], [1, 2]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(BadInput, match="K x K"):
        flows(table)


def test_already_wrong_by_hand():
    """Class 0: two of four images are broken, one of them wrong before. Class 1's one was right before."""
    index, label = [5, 6, 7, 8, 9], [0, 0, 0, 0, 1]
    natural = Outcomes.of_columns("natural", index=index, label=label, prediction=[0, 1, 1, 0, 1])
    attack = Outcomes.of_columns("pgd20", index=index, label=label, prediction=[1, 1, 0, 0, 0])
    assert already_wrong(Outcomes.concat([natural, attack]), "pgd20", 3).tolist() == [1, 0, 0]
    assert np.isnan(already_wrong(attack, "pgd20", 3)).all()
    few = Outcomes.of_columns("natural", index=index[:2], label=label[:2], prediction=[0, 0])
    assert np.isnan(already_wrong(Outcomes.concat([few, attack]), "pgd20", 3)).all()


def test_the_graphs_of_attacks_are_made_when_asked_for() -> None:
    tables = {"natural": np.array([[9, 1], [0, 10]]), "pgd20": np.array([[5, 5], [3, 7]])}
    found = FlowsByAttack(tables)
    assert list(found) == ["natural", "pgd20"]
    assert len(found) == 2
    assert found["pgd20"].edges == flows(tables["pgd20"]).edges
    assert [edge.count for one in found.values() for edge in one.edges] == [1, 5, 3]
