"""``bwlm probe``: its table, its picture."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app


def test_a_table_and_a_picture_of_the_layers(run: Path) -> None:
    shown = CliRunner().invoke(app, ["probe", str(run), "--layers", "0,2", "--chunk", "4"])
    assert shown.exit_code == 0, shown.output
    assert "mean correlation on held-out stories" in shown.stdout
    assert (run / "probes" / "layers.png").read_bytes()[:4] == b"\x89PNG"
