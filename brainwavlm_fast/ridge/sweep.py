"""Held-out scores of every ridge penalty from one extra matrix product, however many penalties there are.

In the basis of a training Gram matrix's eigenvectors V, with eigenvalues lambda, the weights for a penalty are
V (d * b), d_k = 1 / (lambda_k + penalty), b = V' X'y. The held-out prediction's covariance with y is
sum_k d_k a_k b_k, its variance the quadratic form of d * b in M = V' (centred held-out Gram) V. Since

    d_k d_l = (d_k - d_l) / (lambda_l - lambda_k),

the form needs only e = N b with the antisymmetric N_kl = M_kl / (lambda_l - lambda_k), once for all penalties:

    variance = sum_k d_k^2 b_k (M_close b)_k + 2 sum_k (d_k - shift) b_k e_k.

Pairs of close eigenvalues go to the sparse M_close instead, where d_k d_l is (d_k^2 + d_l^2) / 2 to second order; any
constant may be subtracted from d, because b' N b = 0, and one near the bulk of d keeps float32 from cancelling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .problem import RidgeProblem

_CLOSE = {4: 3e-3, 8: 1e-5}  # relative distance of close eigenvalues, by the size of the type: its square is the error
_SPARSE = 64  # close pairs per row above which a dense product is faster
_ROWS = 64  # at a time, of a sweep's preparation
_CANCELLED = 1e-4  # of the variance's own terms: what is left below it is not to be trusted


class RidgeSweep:
    """One split and one grid of penalties, ready for any targets.

    Attributes
    ----------
    shrink, shift : array
        d (n_penalties, rank) and the constant subtracted from it (n_penalties,), float64.
    diagonal : array
        That of M, (rank,), float64.
    divided, close : matrix of the backend
        N and M_close, (rank, rank), in the data's type.
    held : matrix of the backend
        The centred held-out rows in the basis, (n_held, rank).
    backend : Backend
        Where the targets lie.
    """

    def __init__(
        self,
        eigenvalues: NDArray[np.float64],
        held: NDArray[np.float64],
        penalties: NDArray[np.float64],
        problem: RidgeProblem,
    ) -> None:
        """Take the training eigenvalues (rank,) and the centred held-out rows in their basis, (n_held, rank)."""
        gram = problem.backend.cross_product(held, held)
        self.shrink = 1.0 / (eigenvalues + penalties[:, None])
        weight = np.diag(gram) * eigenvalues * self.shrink**2
        total = weight.sum(axis=1)
        mean = (weight * self.shrink).sum(axis=1) / np.where(total > 0, total, 1.0)
        self.shift = np.where(total > 0, mean, self.shrink[:, 0])
        self.diagonal = np.diag(gram).copy()
        divided, close, n_near = np.zeros(gram.shape, problem.dtype), np.zeros(gram.shape, problem.dtype), 0
        for first in range(0, len(gram), _ROWS):  # what is between stays in cache
            rows, values = gram[first : first + _ROWS], eigenvalues[first : first + _ROWS, None]
            gap = eigenvalues - values  # [k, l] = lambda_l - lambda_k
            larger = np.maximum(eigenvalues, values) + penalties.min()
            near = np.abs(gap) <= _CLOSE[problem.dtype.itemsize] * larger
            np.divide(rows, gap, out=divided[first : first + _ROWS], where=~near, casting="same_kind")
            np.copyto(close[first : first + _ROWS], rows, where=near, casting="same_kind")
            n_near += int(np.count_nonzero(near))
        self.backend, self.divided, self.held = problem.backend, problem.place(divided), problem.place(held)
        self.close = problem.place(close) if n_near > _SPARSE * len(gram) else self.backend.sparse(close)

    def moments(self, a: Any, b: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Covariance and variance of the held-out predictions, sums over held-out rows.

        Parameters
        ----------
        a, b : matrix of the backend
            Held-out and training cross products with the targets in the basis, (rank, n_targets).

        Returns
        -------
        covariance, variance : array
            (n_penalties, n_targets).
        doubtful : array
            (n_targets,): too little is left of the variance's terms; score these from their predictions.
        """
        covariance, variance, scale = self.backend.ridge_moments(
            a, b, self.divided @ b, self.close @ b, self.shrink, self.shift, self.diagonal
        )
        doubtful: NDArray[np.bool_] = np.any((variance <= _CANCELLED * scale) & (scale > 0), axis=0)
        return covariance, variance, doubtful
