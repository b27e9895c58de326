"""A tree as wide as UTS02 really is loads and trains in little memory."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from brainwavlm_fast.data import TR
from brainwavlm_fast.simulation.layout import write_index, write_sound, write_textgrid
from brainwavlm_fast.simulation.lexicon import make_lexicon
from brainwavlm_fast.simulation.speech import synthesize_syllables
from brainwavlm_fast.simulation.stories import tell_story

N_VOXELS = 94_251  # UTS02
N_NAN = 17
STORIES = {"avatar": 24, "life": 20, "fromboyhoodtofatherhood": 20, "wheretheressmoke": 20}


@pytest.fixture
def wide_tree(tmp_path):
    root, rng = tmp_path / "ds003020", np.random.default_rng(0)
    lexicon, tokens = make_lexicon(rng), synthesize_syllables(rng)
    folder = root / "derivative" / "preprocessed_data" / "UTS02"
    folder.mkdir(parents=True)
    for story, n_trs in STORIES.items():
        spoken = tell_story(lexicon, tokens, 15 + TR * n_trs, rng)
        write_sound(root / "stimuli" / f"{story}.wav", spoken, mono=False, rng=rng)
        write_textgrid(root / "derivative" / "TextGrids" / f"{story}.TextGrid", spoken, lexicon)
        responses = rng.standard_normal((n_trs, N_VOXELS))
        responses[:, :N_NAN] = np.nan
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = responses
    write_index(root, STORIES, ["UTS02"], "test")
    return root


@pytest.mark.slow
def test_a_tree_of_utss02s_width_trains_within_4_gib(wide_tree, tiny_wavlm, tmp_path):
    command = [sys.executable, "-m", "brainwavlm_fast.cli.main", "train", "--data", wide_tree, "--subject", "S02"]
    command += ["--model", tiny_wavlm, "--layer", 2, "--epochs", 1, "--out", tmp_path / "run", "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["data"]["n_voxels"] == N_VOXELS - N_NAN
    assert summary["data"]["n_excluded"] == N_NAN
    assert summary["steps"] == 5
    assert summary["peak_memory_gib"] < 4  # of the whole process, torch and transformers included
    print(summary["peak_memory_gib"])
