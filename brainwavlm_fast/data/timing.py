"""When each response was measured, on the sound's clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..config import Clock

TR = 2.0
"""Seconds between responses."""
N_TRIMMED = 20
"""Recorded TRs that are not in the responses: 5 of padding, 10 at the start of the sound, 5 at its end."""
_FIRST = {"sound": 11.0, "scanner": 20.0}


def response_times(n_trs: int, *, context: int = 0, clock: Clock = "sound") -> NDArray[np.float64]:
    """Seconds after the sound's onset of ``context`` rows before the first response, and of ``n_trs`` responses.

    The sound starts 10 s into the recording, a TR is represented by its middle, and responses lose their first 10 TRs:
    response k is centered at 11 + 2k s. ``clock="scanner"`` is the authors' release, which kept the onsets of TRs on
    the scanner's clock: 20 + 2k s, 9 s too late (for comparison only).

    Returns
    -------
    NDArray[np.float64]
        float64 (context + n_trs,).
    """
    return _FIRST[clock] + TR * np.arange(-context, n_trs, dtype=np.float64)
