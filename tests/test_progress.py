from __future__ import annotations

from brainwavlm_fast.progress import Progress, TerminalProgress


def test_libraries_are_silent(capsys):
    progress = Progress()
    with progress.task("work", 2) as advance:
        advance()
        advance(1, note="x")
    progress.say("hello")
    assert capsys.readouterr() == ("", "")


def test_terminals_see_the_task_its_count_and_its_note_on_stderr(capsys):
    progress = TerminalProgress()
    with progress.task("epoch 1/2", 3) as advance:
        advance(2)
        advance(1, note="loss -0.1234  3.0 steps/s, then 1 more")
    progress.say("saved [at] step 3")
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("epoch 1/2", "3/3", "eta", "loss -0.1234", "then 1 more", "saved [at] step 3"):
        assert text in err


def test_a_long_line_stays_whole_outside_a_terminal(capsys):
    path = "/".join(["a_long_folder"] * 12)
    TerminalProgress().say(f"{path} holds these results already; nothing to do.")
    assert capsys.readouterr().err == f"{path} holds these results already; nothing to do.\n"
