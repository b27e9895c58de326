"""Encoding by layer: equality with encoding of exported features, what is written, read back, and drawn."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.data import Dataset, StorySplit, load_audio, make_split
from brainwavlm_fast.errors import BwlmError, ConfigError
from brainwavlm_fast.evaluation.encoding import EncodingSettings, RidgeSettings, encode
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.evaluation.layers import evaluate_layers, preferred_layer
from brainwavlm_fast.evaluation.responses import DatasetResponses
from brainwavlm_fast.model import Encoder, Story, story_features
from brainwavlm_fast.results.folders import read_run_config
from tests.helpers.run_folder import NAN_VOXEL, STORIES

RIDGE = RidgeSettings(chunk_length=4)
OPTIONS = EvaluationOptions([1], RIDGE)


def test_each_layer_is_encoded_as_by_hand(run: Path, tree: Path) -> None:
    evaluated = evaluate_run(run, options=OPTIONS)
    found = evaluate_layers(run, run / "evaluation", evaluated, [0, 2], options=OPTIONS)
    dataset, best = Dataset(tree), evaluated["best_epoch"]
    config = read_run_config(run).model
    encoder = Encoder(config, all_layers=True).eval()
    encoder.load(run / "checkpoints" / f"epoch-{best:03d}")
    whole = make_split(dataset.stories("UTS02"))
    split = StorySplit(whole.train, (), whole.test)
    with h5py.File(run / "evaluation/layers.hf5") as file:
        assert list(file.attrs["layers"]) == [0, 2]
        tuned, preferred = file["tuned"][:], file["preferred/tuned"][:]
    for k, layer in enumerate((0, 2)):
        features = {}
        for story, n_trs in STORIES.items():
            sound = load_audio(dataset.audio_path(story))
            prepared = Story(sound, n_trs, config, for_training=False)
            features[story] = story_features(encoder, prepared, layers=[layer])[:, 0].numpy()
        by_hand = encode(features, DatasetResponses(dataset, "UTS02"), EncodingSettings(split, ridge=RIDGE)).mean_test
        np.testing.assert_allclose(tuned[k], by_hand, atol=1e-4)
        assert found["sets"]["all"]["tuned"][k] == pytest.approx(np.nanmean(tuned[k]))
    np.testing.assert_allclose(found["sets"]["all"]["tuned"][1], evaluated["encoding"]["all"]["tuned"], atol=1e-4)
    assert np.isnan(preferred[NAN_VOXEL])
    known = np.isfinite(preferred)
    assert np.array_equal(preferred[known], np.where(tuned[1] > tuned[0], 2, 0)[known])
    assert evaluate_layers(run, run / "evaluation", evaluated, [0, 2], options=OPTIONS) == found
    with pytest.raises(BwlmError, match="holds other layers or settings"):
        evaluate_layers(run, run / "evaluation", evaluated, [0], options=OPTIONS)
    with pytest.raises(ConfigError, match="layer 9 does not exist"):
        evaluate_layers(run, run / "evaluation", evaluated, [9], options=OPTIONS)


def test_the_preferred_layer_is_the_best_of_those_given() -> None:
    scores = np.array([[0.1, 0.5, np.nan], [0.3, 0.2, 0.1]])
    np.testing.assert_array_equal(preferred_layer(scores, [0, 6]), [6, 0, np.nan])


def test_a_table_and_pictures(run: Path) -> None:
    arguments = ["evaluate", str(run), "--epochs", "1", "--chunk", "4", "--layers", "all"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "Mean correlation by layer, pre-trained -> tuned" in shown.stdout
    assert (run / "evaluation/layers.png").read_bytes()[:4] == b"\x89PNG"
    assert (run / "evaluation/preferred.png").exists() or "No map of preferred layers" in shown.stdout
    refused = CliRunner().invoke(app, [*arguments[:-1], "some"])
    assert refused.exit_code == 2
    assert "--layers is 'some'" in refused.stderr
