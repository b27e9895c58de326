"""A run that a page can be about."""

from __future__ import annotations

from tests.helpers.saved_runs import make_probes, make_saved_run


def make_reported_run(folder, planted_tree):
    """Evaluated and probed, on the planted brain's anatomy."""
    root, anatomy = planted_tree
    make_saved_run(folder, data=root, n_voxels=800, ac=anatomy.ac)
    make_probes(folder / "probes", {"UTS01-nonac": 0.1})
    return folder
