"""README's example runs, and the commands it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from brainwavlm_fast.cli.main import app

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_finds_what_it_made(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert 0.4 < float(capsys.readouterr().out) < 0.8


def test_the_table_names_every_command():
    named = set(re.findall(r"^\| `bwlm ([\w-]+)", README, flags=re.MULTILINE))
    assert named == {command.name or command.callback.__name__ for command in app.registered_commands}


def test_every_file_it_names_is_there():
    root = Path(__file__).resolve().parent.parent
    for name in set(re.findall(r"`((?:benchmarks|brainwavlm_fast|tests|csrc|cli)/[\w./-]+)`", README)):
        assert (root / name).exists(), name


def test_ratios_stand_in_one_table_with_their_terms():
    before, _, measured = README.partition("## Measured")
    table, _, after = measured.partition("\n## ")
    assert not re.findall(r"[\d.]+ times as fast", before + after)
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][2:]  # after the head
    assert len(rows) >= 6
    for what, rival, ratio in rows:
        assert re.search(r"\d", ratio), ratio
        assert re.search(r"\d+\.\d+|transcription|the same", rival), f"{rival}: of which version?"
        assert what.strip()
