"""The simulated cortex: which voxel follows what, through which readout, and with how much noise.

Most voxels follow the teacher's meaning, an auditory set follows log-mel energies; each has its own linear readout,
hemodynamic response and noise ceiling. The hemispheres differ in noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data import TR

DELAYS = (1, 2, 3, 4)
N_REPEATS = 10
AUTOCORRELATION = {"lh": 0.4, "rh": 0.5}  # of the noise, from one TR to the next
RIGHT_CEILING = 0.9  # the right hemisphere's ceilings, relative to the left's
# Noise ceilings of real subjects (correlation, over cortex): about 15 % of voxels hold no signal at all.
_QUANTILES = (0.0, 0.15, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0)
_CEILINGS = (0.0, 0.0, 0.20, 0.38, 0.55, 0.70, 0.76, 0.85)
_AC_CEILINGS = (0.2, 0.85)  # auditory cortex is reliable throughout


@dataclass(frozen=True)
class Anatomy:
    """Where voxels are. ``thick`` is bool (z, y, x); the sets are bool (n_voxels,) in its C order."""

    thick: NDArray[np.bool_]
    lh: NDArray[np.bool_]
    rh: NDArray[np.bool_]
    ac: NDArray[np.bool_]

    @property
    def n_voxels(self) -> int:
        """Voxels of the cortex."""
        return len(self.lh)

    def volume(self, voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A voxel set as a volume (z, y, x)."""
        out = np.zeros_like(self.thick)
        out[self.thick] = voxels
        return out


def make_anatomy(n_voxels: int, n_ac: int) -> Anatomy:
    """Two hemispheres of equal size, mirrored in x, an auditory patch at the lateral end of each."""
    half = n_voxels // 2
    side = int(np.ceil((half * 1.3) ** (1 / 3)))
    z, y, x = np.meshgrid(*(np.arange(side),) * 3, indexing="ij")
    depth = np.sqrt((z - side / 2) ** 2 + (y - side / 2) ** 2 + (x - side) ** 2)
    inside = np.zeros((side,) * 3, dtype=bool)
    inside.ravel()[np.argsort(depth, axis=None, kind="stable")[:half]] = True
    lateral = np.where(inside, x * side**2 + np.abs(y - side // 2) * side + z, side**4)
    patch = np.zeros_like(inside)
    patch.ravel()[np.argsort(lateral, axis=None, kind="stable")[: n_ac // 2]] = True
    thick = np.concatenate([inside, inside[..., ::-1]], axis=2)
    ac = np.concatenate([patch, patch[..., ::-1]], axis=2)
    left = np.zeros_like(thick)
    left[..., :side] = True
    return Anatomy(thick, left[thick], ~left[thick], ac[thick])


@dataclass(frozen=True)
class Cortex:
    """One subject's voxels: readouts of meaning and of sound, hemodynamics, ceilings, all (n_voxels, ...)."""

    anatomy: Anatomy
    meaning: NDArray[np.float64]
    sound: NDArray[np.float64]
    hrf: NDArray[np.float64]
    ceilings: NDArray[np.float64]

    def signals(
        self, latents: Mapping[str, NDArray], mel: Mapping[str, NDArray], fit_on: list[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Noise-free responses of each story, (n_trs, n_voxels), unit variance over the stories ``fit_on``.

        ``latents`` and ``mel`` carry ``max(DELAYS)`` rows of context before the first response.
        """
        meaning, sound = _standardized(latents, fit_on), _standardized(mel, fit_on)
        ac = self.anatomy.ac
        raw = {}
        for story in latents:
            drive = np.where(ac, sound[story] @ self.sound.T, meaning[story] @ self.meaning.T)
            context, n = max(DELAYS), len(drive) - max(DELAYS)
            shifted = [self.hrf[:, k] * drive[context - d : context - d + n] for k, d in enumerate(DELAYS)]
            raw[story] = np.sum(shifted, axis=0)
        return _standardized(raw, fit_on)

    def measure(self, signal: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """One presentation, z-scored: ceiling times signal, and autocorrelated noise for the rest of the variance."""
        noise = self._noise(len(signal), rng)
        return zscore(self.ceilings * signal + np.sqrt(1 - self.ceilings**2) * noise)

    def measure_repeats(self, signal: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Ten presentations (n_repeats, n_trs, n_voxels), so noisy that their mean reaches the ceiling.

        Training stories carry the noise of this mean, not of one presentation: the real set has 35 times as many
        TRs, and a demo of a few minutes could learn nothing from as few at a tenth of the signal's power.
        """
        spread = np.sqrt(N_REPEATS * (1 - self.ceilings**2))
        return np.stack(
            [zscore(self.ceilings * signal + spread * self._noise(len(signal), rng)) for _ in range(N_REPEATS)]
        )

    def _noise(self, n_trs: int, rng: np.random.Generator) -> NDArray[np.float64]:
        rho = np.where(self.anatomy.lh, AUTOCORRELATION["lh"], AUTOCORRELATION["rh"])
        out = rng.standard_normal((n_trs, self.anatomy.n_voxels))
        for t in range(1, n_trs):
            out[t] = rho * out[t - 1] + np.sqrt(1 - rho**2) * out[t]
        return out


def make_cortex(anatomy: Anatomy, n_latents: int, n_mels: int, rng: np.random.Generator) -> Cortex:
    """Draw a subject: readouts, hemodynamic responses and ceilings."""
    n = anatomy.n_voxels
    ceilings = ceiling_quantiles(n, rng) * np.where(anatomy.rh, RIGHT_CEILING, 1.0)
    ceilings[anatomy.ac] = rng.uniform(*_AC_CEILINGS, int(anatomy.ac.sum()))
    return Cortex(
        anatomy,
        meaning=rng.standard_normal((n, n_latents)),
        sound=rng.standard_normal((n, n_mels)),
        hrf=hemodynamics(rng.normal(5.0, 0.7, n)),
        ceilings=ceilings,
    )


def ceiling_quantiles(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``n`` ceilings with the real distribution's quantiles, in random order."""
    return rng.permutation(np.interp((np.arange(n) + 0.5) / n, _QUANTILES, _CEILINGS))


def hemodynamics(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gamma-shaped responses that peak at ``peaks`` s, sampled at the delays: (n_voxels, n_delays), unit sum."""
    seconds = TR * np.array(DELAYS, dtype=np.float64)
    shape = 7.0
    scaled = seconds / np.clip(peaks, 3.0, 8.0)[:, None]
    weights = (scaled * np.exp(1 - scaled)) ** shape
    return weights / weights.sum(axis=1, keepdims=True)


def _standardized(values: Mapping[str, NDArray], fit_on: list[str]) -> dict[str, NDArray[np.float64]]:
    together = np.concatenate([values[story] for story in fit_on])
    mean, std = together.mean(0), together.std(0)
    return {story: (value - mean) / std for story, value in values.items()}


def zscore(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column over its rows."""
    return (x - x.mean(axis=0)) / x.std(axis=0)
