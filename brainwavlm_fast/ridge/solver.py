"""What solves a ridge problem, and which of the solvers costs least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .backend_numpy import NumpyBackend
from .cholesky import CholeskySolver
from .parallel import Done
from .problem import Float64, Floats, RidgeProblem, Targets
from .spectral import GcvSolver, SpectralSolver

Result = TypeVar("Result")


class Solver(Protocol):
    """Scores and weights of one problem at a grid of penalties, tile by tile of its targets."""

    problem: RidgeProblem
    penalties: Float64

    def tile_width(self) -> int:
        """Targets per tile."""

    def run(
        self,
        jobs: Sequence[Callable[[], Result]],
        *,
        splits: range = range(0),
        all_rows: bool = False,
        done: Done = lambda number: None,
    ) -> list[Result]:
        """Results of jobs on one tile each, that score ``splits`` and (``all_rows``) ask for weights.

        ``done`` is told the number of each job, in order, once it and all before it are finished.
        """

    def score(self, targets: Targets, *, splits: range | None = None) -> Float64:
        """Held-out score per penalty and target, summed over the splits (all by default): (n_penalties, n_targets)."""

    def weights(self, targets: Targets, penalties: Float64) -> tuple[Any, Floats]:
        """Weights on all rows with one penalty per target, (n_features, n_targets) where the targets lie, and
        intercepts (n_targets,)."""


def choose_solver(problem: RidgeProblem, penalties: Float64, *, gcv: bool = False) -> Solver:
    """The solver that costs least for a grid of penalties (n_penalties,).

    The choice depends on sizes, the grid and the design alone, never on the targets' values or on how they are tiled.
    ``gcv`` asks for scores by generalised cross-validation.
    """
    if gcv:
        return GcvSolver(problem, penalties)
    few = problem.splits and isinstance(problem.backend, NumpyBackend) and CholeskySolver.pays(problem, len(penalties))
    if few and CholeskySolver.resolves(problem, float(penalties.min())):
        return CholeskySolver(problem, penalties)
    return SpectralSolver(problem, penalties)
