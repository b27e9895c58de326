from typing import Any

def correlation(
    x: Any,
    y: Any,
    axis: int,
    weights: Any | None,
    r: Any,
    g: Any | None,
    g_all: float,
    gx: Any | None,
    workspace: Any,
    num_threads: int,
    stream: int,
    summed: bool = False,
) -> None: ...
def correlation_workspace(rows: int, cols: int, axis: int) -> int: ...
def delay_stack(
    x: Any,
    delays: list[int],
    run_onsets: list[int],
    context: int,
    out: Any,
    moments: Any | None,
    eps: float,
    num_threads: int,
    stream: int,
) -> None: ...
def delay_stack_backward(
    g_out: Any,
    delays: list[int],
    run_onsets: list[int],
    context: int,
    gx: Any,
    x: Any | None,
    moments: Any | None,
    num_threads: int,
    stream: int,
) -> None: ...
def ridge_moments(
    held_cross: Any,
    train_cross: Any,
    divided_cross: Any,
    close_cross: Any,
    shrink: Any,
    shift: Any,
    diagonal: Any,
    covariance: Any,
    variance: Any,
    scale: Any,
    num_threads: int,
    stream: int,
) -> None: ...
def build_info() -> dict[str, Any]: ...
