"""What solves a ridge problem, and which of the solvers costs least."""

from __future__ import annotations

from .backend_numpy import NumpyBackend
from .cholesky import CholeskySolver
from .problem import Float64, RidgeProblem
from .spectral import GcvSolver, SpectralSolver

Solver = CholeskySolver | SpectralSolver


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
