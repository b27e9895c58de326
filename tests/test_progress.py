from __future__ import annotations

import pytest

from brainwavlm_fast.progress import Progress, TerminalProgress


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_libraries_are_silent(capsys):
    progress = Progress()
    with progress.task("work", 2) as advance:
        advance()
        advance(1, note="x")
    progress.say("hello")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_task_shows_its_count_and_its_note_on_stderr(capsys, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
        monkeypatch.setenv("COLUMNS", "160")
    progress = TerminalProgress()
    with progress.task("epoch 1/2", 3) as advance:
        advance(2)
        advance(1, note="loss -0.1234  3.0 steps/s, then 1 more")
    progress.say("saved [at] step 3")
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("epoch 1/2", "3/3", "loss -0.1234", "then 1 more", "saved [at] step 3"):
        assert text in err
    assert ("eta" in err) == terminal  # nothing was left to estimate in a log of two lines


def test_a_log_has_a_line_at_the_start_one_per_half_minute_and_one_at_the_end(capsys):
    clock = Clock()
    progress = TerminalProgress(clock=clock)
    with progress.task("features", 200, done=100) as advance:
        assert capsys.readouterr().err == "features: 100/200\n"
        for story in range(90):
            clock.now += 1.0
            advance(note=f"story {story}")
        clock.now += 15.0
        advance(10, note="the last")
    assert capsys.readouterr().err.splitlines() == [
        "features: 130/200  1.0 per s  eta 0:01:10  story 29",
        "features: 160/200  1.0 per s  eta 0:00:40  story 59",
        "features: 190/200  1.0 per s  eta 0:00:10  story 89",
        "features: 200/200 in 0:01:45  the last",
    ]


def test_slow_work_is_counted_per_minute_and_a_failure_has_no_last_line(capsys):
    clock = Clock()
    progress = TerminalProgress(clock=clock)

    def fails():
        with progress.task("runs", 4) as advance:
            clock.now += 600.0
            advance()
            clock.now += 1.0
            advance()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fails()
    assert capsys.readouterr().err.splitlines() == ["runs: 0/4", "runs: 1/4  0.1 per min  eta 0:30:00"]


def test_where_nothing_is_to_be_done_a_log_has_no_line(capsys):
    with TerminalProgress().task("features", 0) as advance:
        advance(0, note="story")
    assert capsys.readouterr().err == ""


def test_a_long_line_stays_whole_outside_a_terminal(capsys):
    path = "/".join(["a_long_folder"] * 12)
    TerminalProgress().say(f"{path} holds these results already; nothing to do.")
    assert capsys.readouterr().err == f"{path} holds these results already; nothing to do.\n"
