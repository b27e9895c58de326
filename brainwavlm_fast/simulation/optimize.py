"""One way to fit the student and the teacher: Adam, with one cycle of learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..progress import Advance


def minimize(
    loss_and_note: Callable[[], tuple[Tensor, str]],
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    steps: int,
    advance: Advance,
) -> None:
    """Take ``steps`` steps down a loss that is drawn anew for each; the note stands beside the progress bar."""
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        loss, note = loss_and_note()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance(1, note=note)
