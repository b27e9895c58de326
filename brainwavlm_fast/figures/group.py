"""What tuning adds over subjects: each subject's change, and the pooled one, of every model and voxel set."""

from __future__ import annotations

from typing import Any

from ..results.saved import Saved, SavedRun
from ..stats.pooled import pool_known
from .style import SETS


def group_effects(saved: Saved) -> list[dict[str, Any]]:
    """Of models that several subjects have: ``model``, ``voxels``, and for ``difference`` (in r) and ``percent``
    ``subjects`` (name -> change, or None) and ``pooled`` (see :func:`.pooled.pool`; None where it is not known).

    A model that a subject has twice is left out: subjects are the units.
    """
    models: dict[str, list[SavedRun]] = {}
    for run in saved.evaluated:
        models.setdefault(run.model, []).append(run)
    found = []
    for model, runs in models.items():
        subjects = [run.subject for run in runs]
        if len(runs) < 2 or len(set(subjects)) < len(runs):
            continue
        encodings = [(run.evaluation or {})["encoding"] for run in runs]
        for voxels in (name for name in SETS if sum(name in encoding for encoding in encodings) > 1):
            numbers = [encoding.get(voxels, {}) for encoding in encodings]
            effects: dict[str, Any] = {"model": model, "voxels": voxels}
            for kind in ("difference", "percent"):
                changes = [number.get(kind) for number in numbers]
                errors = [number.get("standard_errors", {}).get(kind) for number in numbers]
                effects[kind] = {
                    "subjects": dict(zip(subjects, changes, strict=True)),
                    "pooled": pool_known(changes, errors),
                }
            found.append(effects)
    return found
