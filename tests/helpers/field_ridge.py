"""The field's bootstrap ridge, written out plainly from its description: one SVD a split, every alpha in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def zscored(values: NDArray) -> NDArray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def svd_ridge(X: NDArray, Y: NDArray, alpha: float) -> NDArray:
    """Weights (n_features, n_targets): singular values s become s / (s^2 + alpha^2)."""
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    return Vt.T @ np.diag(s / (s**2 + alpha**2)) @ U.T @ Y


def bootstrap_ridge(
    X: NDArray, Y: NDArray, alphas: NDArray, splits: list[tuple[NDArray, NDArray]], *, use_corr: bool = True
) -> tuple[NDArray, NDArray, NDArray]:
    """Mean held-out score (n_alphas, n_targets), the best alpha of each target, weights on all rows."""
    scores = np.zeros((len(alphas), Y.shape[1]))
    for train, held in splits:
        for k, alpha in enumerate(alphas):
            predicted = X[held] @ svd_ridge(X[train], Y[train], alpha)
            if use_corr:
                scores[k] += (zscored(predicted) * zscored(Y[held])).mean(axis=0)
            else:
                scores[k] += 1 - ((Y[held] - predicted) ** 2).mean(axis=0) / Y[held].var(axis=0)
    scores /= len(splits)
    best = alphas[np.argmax(scores, axis=0)]
    weights = np.stack([svd_ridge(X, Y[:, [v]], best[v])[:, 0] for v in range(Y.shape[1])], axis=1)
    return scores, best, weights
