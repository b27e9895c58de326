"""What a run writes while it trains: ``log.jsonl`` (one object per line) and TensorBoard scalars."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import atomic_path, json_text


class RunLog:
    """Append-only log of a run; on resume, everything after the checkpoint's step is dropped first."""

    def __init__(self, folder: Path, *, after_step: int, silent: bool) -> None:
        """Open the log of a run that stands at ``after_step`` (0 for a new one); a silent one writes nothing."""
        self._silent = silent
        if silent:
            return
        self._path = folder / "log.jsonl"
        if self._path.exists():
            kept = [record for record in read_log(self._path) if record["step"] <= after_step]
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(map(_line, kept)), encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=after_step + 1 if after_step else None)

    def step(self, step: int, **values: Any) -> None:
        """One optimizer step."""
        drawn = {f"train/{name}": values[name] for name in ("loss", "grad_norm")}
        self._write({"kind": "step", "step": step, **values}, drawn)

    def validation(self, step: int, epoch: int, stories: dict[str, dict[str, float]], **more: Any) -> None:
        """Scores over whole validation stories, before the first epoch (0) or after one."""
        drawn = {f"validation/{story}/{name}": value for story, of in stories.items() for name, value in of.items()}
        self._write({"kind": "validation", "step": step, "epoch": epoch, "stories": stories, **more}, drawn)

    def note(self, step: int, **values: Any) -> None:
        """A note on the run: excluded voxels, a resume, the end."""
        self._write({"kind": "note", "step": step, **values}, {})

    def close(self) -> None:
        """Flush TensorBoard."""
        if not self._silent:
            self._board.close()

    def _write(self, record: dict[str, Any], drawn: dict[str, float]) -> None:
        """Append a record, and draw its scalars in TensorBoard."""
        if self._silent:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
        for name, value in drawn.items():
            self._board.add_scalar(name, value, record["step"])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a run's ``log.jsonl``; a line cut off by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def _line(record: dict[str, Any]) -> str:
    return json_text(record, where="log.jsonl") + "\n"
