"""Saved weights give the evaluation's own predictions, and can be written later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainwavlm_fast.data import Dataset, load_audio, read_responses
from brainwavlm_fast.evaluation.encoding import RidgeSettings
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.model import BrainWavLM
from brainwavlm_fast.stats.fir import fir_shape
from tests.helpers.run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES

TEST = "wheretheressmoke"
OPTIONS = EvaluationOptions(epochs=[2], ridge=RidgeSettings(chunk_length=4))


def predicted_by_hand(run: Path, tree: Path, epoch: int, weights: np.ndarray, delays: tuple[int, ...]) -> np.ndarray:
    """As the file's attribute says: z-scored over the story and its context, shifted, times the weights."""
    model = BrainWavLM.from_pretrained(run / "checkpoints" / f"epoch-{epoch:03d}")
    rows = model.story_features(load_audio(Dataset(tree).audio_path(TEST)), STORIES[TEST]).astype(np.float64)
    z, context = (rows - rows.mean(axis=0)) / rows.std(axis=0), max(delays)
    shifted = [z[context - d : len(z) - d] for d in delays]
    return sum(x @ weights[:, k].T for k, x in enumerate(shifted))


@pytest.mark.parametrize("later", [False, True])
def test_weights_predict_what_the_evaluation_scored(run: Path, tree: Path, later: bool) -> None:
    if later:
        evaluate_run(run, options=OPTIONS)
        assert not (run / "evaluation/weights.hf5").exists()
    summary = evaluate_run(run, options=replace(OPTIONS, save_weights=True))
    assert not (run / "evaluation/features").exists()
    measured = read_responses(Dataset(tree), "UTS02", TEST)
    usable = np.delete(np.arange(N_VOXELS), [NAN_VOXEL, CONSTANT_VOXEL])
    with h5py.File(run / "evaluation/weights.hf5") as file, h5py.File(run / "evaluation/voxels.hf5") as voxels:
        assert file.attrs["version brainwavlm-fast"]
        for name, epoch in (("pretrained", 0), ("tuned", summary["best_epoch"])):
            group = file[name]
            delays, weights = tuple(group.attrs["delays"]), group["weights"][:]
            assert group.attrs["epoch"] == epoch
            assert group["weights"].chunks[1:] == weights.shape[1:] == (4, weights.shape[2])
            assert np.isnan(weights[[NAN_VOXEL, CONSTANT_VOXEL]]).all()
            made = predicted_by_hand(run, tree, epoch, weights, delays)
            r = [np.corrcoef(made[:, v], measured[:, v])[0, 1] for v in usable]
            np.testing.assert_allclose(r, voxels[f"encoding/{name}"][usable], atol=2e-4)
            shape, share = fir_shape(weights)
            np.testing.assert_allclose(group["fir"], shape, atol=1e-6)
            np.testing.assert_allclose(group["fir_share"], share, atol=1e-6)
