"""Progress where stderr is no terminal: counts, not too often, nothing overwritten."""

from __future__ import annotations

import pytest

from fairbench import progress
from fairbench.progress import Bars


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_counts_at_the_start_at_the_end_and_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A block of 100 every 4 seconds: after 12 seconds 300 are done, after 24 seconds 600; 900 is the end."""
    with Bars() as bars:
        bar = bars.start("pgd20", 900)
        for _ in range(9):
            clock.now += 4
            bars.advance(bar, 100)
        bars.finish(bar)
    said = capsys.readouterr()
    assert said.err == "pgd20: 0 of 900\npgd20: 300 of 900\npgd20: 600 of 900\npgd20: 900 of 900\n"
    assert said.out == ""


def test_resumed_and_stopped_work_is_counted_as_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        first, second = bars.start("natural", 20, done=5), bars.start("fgsm", 1000, done=1000)
        bars.advance(first, 10)
        bars.finish(first)
        bars.finish(second)
    assert capsys.readouterr().err == "natural: 5 of 20\nfgsm: 1,000 of 1,000\nnatural: 15 of 20\n"


def test_large_counts_stay_whole_numbers(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.finish(bars.start("training", 1_234_567, done=1_234_566))
    assert capsys.readouterr().err == "training: 1,234,566 of 1,234,567\n"


def test_the_time_left_for_everything(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of all work every 8 seconds: after 16 seconds 2 tenths are done, and 8 tenths take 64 seconds."""
    with Bars() as bars:
        bars.whole(0.0)
        bar = bars.start("aa/apgd-t", 20)
        for number in (1, 2, 3):
            clock.now += 8
            bars.whole(number / 10)
            bars.advance(bar, 4)
        clock.now += 600
        bars.whole(0.301)
        bars.advance(bar, 0.1)
        bars.finish(bar)
    assert capsys.readouterr().err.splitlines() == [
        "aa/apgd-t: 0 of 20",
        "aa/apgd-t: 8 of 20, about 1:04 left",
        "aa/apgd-t: 12 of 20, about 24:09 left",
    ]


def test_nothing_is_foretold_from_a_moment_or_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.whole(0.5)
        bar = bars.start("fgsm", 20)
        clock.now += 1
        bars.whole(0.6)
        bars.advance(bar, 10)
        clock.now += 20
        bars.whole(1.0)
        bars.advance(bar, 10)
        bars.finish(bar)
    assert "left" not in capsys.readouterr().err


def test_what_was_done_before_is_not_taken_for_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Half was done by an earlier call; a tenth more takes 10 seconds now, so the other four tenths take 40. Once all
    is done nothing of it stays for the bars of other work."""
    with Bars() as bars:
        bars.whole(0.0)
        bar = bars.start("aa/square", 10)
        clock.now += 1
        bars.whole(0.5, anew=True)
        clock.now += 10
        bars.whole(0.6)
        bars.advance(bar, 6)
        bars.whole(1.0)
        bars.finish(bar)
        bars.finish(bars.start("race", 5))
    said = capsys.readouterr().err.splitlines()
    assert said == ["aa/square: 0 of 10", "aa/square: 6 of 10, about 0:40 left", "race: 0 of 5"]
