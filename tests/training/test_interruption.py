"""Ctrl-C: deferred to the end of a step, at once everywhere else and the second time."""

from __future__ import annotations

import signal
import threading

import pytest

from fairbench.training.interruption import Interruption


def press():
    signal.raise_signal(signal.SIGINT)


def test_the_first_press_during_steps_is_a_request():
    with Interruption() as interruption:
        interruption.stepping = True
        press()
        assert interruption.requested


def test_the_second_press_interrupts_at_once():
    with Interruption() as interruption:
        interruption.stepping = True
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_outside_of_steps_it_interrupts_at_once():
    with Interruption(), pytest.raises(KeyboardInterrupt):
        press()


def test_in_another_thread_nothing_is_touched():
    before, errors = signal.getsignal(signal.SIGINT), []

    def work():
        try:
            with Interruption():
                assert signal.getsignal(signal.SIGINT) is before
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
