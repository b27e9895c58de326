"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainwavlm_fast.errors import ConfigError

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of ds003020.", show_default="$BWLM_DATA, then ./ds003020")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The runs' pre-trained WavLM, if it has moved: a folder, or a name on the hub. Other weights are refused.",
        show_default="as the run says",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Commit, tag or branch of a model on the hub.",
        show_default="the run's commit, else the main branch",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object; tables and progress go to stderr.")
]
EvaluationOption = Annotated[str, typer.Option("--evaluation", help="Name of the evaluation inside each run.")]
StoriesOption = Annotated[
    str | None, typer.Option("--stories", help="Stories, comma-separated.", show_default="all of the data set")
]
LayersOption = Annotated[str, typer.Option("--layers", help="Hidden states: all, or such as 0,3,6-9.")]
EpochOption = Annotated[
    int | None,
    typer.Option("--epoch", help="Epoch of the run.", show_default="the best of the evaluation, else the last"),
]
AlphasOption = Annotated[
    str | None,
    typer.Option(
        "--alphas",
        help="Ridge alphas, log-spaced: smallest, largest, number. Penalties are their squares.",
        show_default="10,10000,10",
    ),
]
ChunkOption = Annotated[int, typer.Option("--chunk", min=1, help="TRs per chunk of the bootstrap.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]
EmbeddingsOption = Annotated[
    Path | None,
    typer.Option(
        "--embeddings", help="Word vectors, GloVe's text format (also .gz, .zip).", show_default="a planted brain's own"
    ),
]
TargetOption = Annotated[
    list[Path] | None,
    typer.Option("--target", help="HDF5 of your own: a dataset (n_trs, n_dimensions) a story. May be repeated."),
]
BlockOption = Annotated[
    str,
    typer.Option(
        "--block", help="Significance: auto gives each term of a story's cosine transform a random sign; N, each N TRs."
    ),
]
MemoryOption = Annotated[float, typer.Option("--memory-gb", help="GiB of memory for responses.")]


def require_memory(memory_gb: float) -> None:
    """Hold ``--memory-gb`` to a positive number."""
    if not memory_gb > 0:
        raise ConfigError(f"--memory-gb is {memory_gb}; it must be positive.")


def names(text: str) -> list[str]:
    """Names that are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def story_names(text: str | None) -> list[str] | None:
    """The value of ``--stories``; None is every story."""
    return names(text) if text else None


def whole_numbers(text: str, option: str) -> list[int]:
    """Numbers given as 5,10 or 1-10, rising; a ConfigError that names the option otherwise."""
    chosen: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            chosen |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise ConfigError(f"{option} is '{text}'; it must be like 5,10 or 1-10.") from None
    return sorted(chosen)


def layer_numbers(text: str) -> list[int] | None:
    """The value of ``--layers``; None is every layer."""
    return None if text == "all" else whole_numbers(text, "--layers")


def block_length(text: str) -> int | None:
    """The value of ``--block``; None is auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--block is '{text}'; it must be auto, or a number of TRs such as 20.")
    return int(text)


def alpha_grid(text: str) -> tuple[float, ...]:
    """Log-spaced alphas given as smallest, largest and number."""
    import numpy as np

    try:
        smallest, largest, count = text.split(",")
        low, high, n = float(smallest), float(largest), int(count)
    except ValueError:
        raise ConfigError(f"--alphas is '{text}'; it must be three numbers, like 10,10000,10.") from None
    if not (0 < low <= high < float("inf")) or n < 1:
        raise ConfigError(f"--alphas is '{text}'; alphas are positive, the smallest first, and there is one or more.")
    return tuple(float(alpha) for alpha in np.geomspace(low, high, n))
