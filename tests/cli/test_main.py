"""The command line as a whole: help, exit statuses, errors for people, one real process."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli import output
from brainwavlm_fast.cli.main import app

COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


def bwlm(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands_are_these():
    assert {"check", "evaluate", "info", "simulate", "train", "transfer"} <= COMMANDS
    assert bwlm().exit_code == 2
    assert bwlm("--help").exit_code == 0


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_has_an_example(name):
    result = bwlm(name, "--help")
    assert result.exit_code == 0
    assert f"Example: bwlm {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_is_bad_use(name):
    result = bwlm(name, "--colour", "red")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_version():
    result = bwlm("--version")
    assert (result.exit_code, result.output.split()) == (0, ["bwlm", metadata.version("brainwavlm-fast")])


def test_help_is_in_panels():
    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "100"}).output
    positions = [shown.index(f"─ {panel} ─") for panel in ("Data", "Model", "Training", "Speed and memory", "Output")]
    assert positions == sorted(positions)
    commands = bwlm("--help").output
    assert all(f"─ {group} ─" in commands for group in ("Data", "Training", "Evaluation", "Results"))


@pytest.mark.parametrize("module", ["fcntl", "resource"])
def test_a_system_that_is_not_posix_is_told_so(module, small_tree, tmp_path):
    """As on Windows, where these modules are missing."""
    code = (
        f"import sys; sys.modules[{module!r}] = None\nfrom brainwavlm_fast.cli.main import main\n"
        f"sys.argv = ['bwlm', 'train', '--subject', 'S01', '--data', {str(small_tree)!r}, "
        f"'--model', {str(tmp_path)!r}, '--out', {str(tmp_path / 'run')!r}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"bwlm: this system has no module {module}; Linux and macOS are supported" in done.stderr
    assert "Traceback" not in done.stderr


def test_info_as_a_process(tmp_path):
    bwlm_script = shutil.which("bwlm", path=str(Path(sys.executable).parent))
    assert bwlm_script, "the bwlm command is not installed beside this Python"
    done = subprocess.run([bwlm_script, "info", "--json"], capture_output=True, text=True, cwd=tmp_path, check=True)
    result = json.loads(done.stdout)
    assert result["versions"]["brainwavlm-fast"] != "not installed"
    assert result["core"]["threads"] >= 1
    assert isinstance(result["core"]["cuda_built"], bool)
    shown = bwlm("info")
    assert shown.exit_code == 0
    for word in ("core: SIMD", "core: CUDA built", "torch: CUDA available", "transformers"):
        assert word in shown.output


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_is_one_sentence(number, capsys):
    @output.command
    def work():
        raise OSError(number, "x", "/some/file")

    with pytest.raises(output.typer.Exit) as stopped:
        work()
    assert stopped.value.exit_code == 2
    assert capsys.readouterr().err.startswith("bwlm: /some/file: ")


def test_other_system_errors_are_bugs_and_keep_their_traceback():
    @output.command
    def work():
        raise OSError(errno.EBADF, "x")

    with pytest.raises(OSError):
        work()


def test_ctrl_c_is_status_130(capsys):
    @output.command
    def work():
        raise KeyboardInterrupt

    with pytest.raises(output.typer.Exit) as stopped:
        work()
    assert stopped.value.exit_code == 130
