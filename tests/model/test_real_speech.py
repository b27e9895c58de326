"""Real (if mechanical) speech through a WavLM of Base+'s size, as a story in the data set's layout."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast.check import check_dataset
from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.data import Dataset, load_audio
from brainwavlm_fast.model import BrainWavLM, Story
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.training.losses import training_loss
from brainwavlm_fast.training.training_data import open_training_data

ESPEAK = shutil.which("espeak-ng")
TEXT = """
On the first morning of the thaw my grandmother carried her radio down to the river, because she said that music
travels better over water. Nobody believed her, but we went along, my brother with the chairs and I with the bread.
The ice had begun to groan in the night. It sounded like a door that somebody opens very slowly, so as not to wake the
house. She set the radio on a stone and turned the dial until a voice came out of the hiss, a man reading the prices of
wheat and barley in a town that none of us had ever seen. We waited for the song. When it came, it was a waltz, and the
far bank gave it back to us half a second late, so that the whole valley seemed to dance with its own shadow. My brother
laughed. My grandmother did not. She was listening, she told us afterwards, for the third echo, the one from the mill,
which her own mother had once heard on the day the war ended. We never heard it. But years later, when I measure how
long a sound takes to cross a room, or how long a thought takes to follow a word, I still count three.
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three stories: the text read slowly, read by another voice, and read backwards by sentence."""
    root = tmp_path_factory.mktemp("ds003020")
    responses = root / "derivative" / "preprocessed_data" / "UTS01"
    responses.mkdir(parents=True)
    (root / "stimuli").mkdir()
    sentences = TEXT.replace("\n", " ").split(". ")
    readings = {
        "theriver": (TEXT, "en-us", 130),
        "fromboyhoodtofatherhood": (". ".join(sentences[:6]), "en-gb", 150),
        "wheretheressmoke": (". ".join(sentences[::-1][:6]), "en-us", 150),
    }
    counts, rng = {}, np.random.default_rng(0)
    for story, (text, voice, rate) in readings.items():
        path = root / "stimuli" / f"{story}.wav"
        subprocess.run([ESPEAK, "-v", voice, "-s", str(rate), "-w", str(path), text], check=True)
        n_trs = int((len(load_audio(path)) / 16_000 - 12) / 2)
        counts[story] = n_trs + 20
        with h5py.File(responses / f"{story}.hf5", "w") as file:
            file["data"] = rng.standard_normal((n_trs, 200))
    (root / "derivative" / "respdict.json").write_text(json.dumps(counts))
    return root


@pytest.mark.slow
@pytest.mark.skipif(ESPEAK is None, reason="espeak-ng is not installed (apt-get install espeak-ng)")
def test_minutes_of_speech_at_base_plus_size(tree, tmp_path):
    dataset = Dataset(tree)
    assert check_dataset(dataset).trainable == ["UTS01"]
    assert len(load_audio(dataset.audio_path("theriver"))) / 16_000 > 60
    torch.manual_seed(0)
    WavLMModel(WavLMConfig()).save_pretrained(tmp_path / "wavlm")
    model_config, train = preset("paper")
    model_config = replace(model_config, model=str(tmp_path / "wavlm"), stride=2.0)
    material = open_training_data(RunConfig(str(tree), "paper", model_config, train), dataset, Progress())
    model = BrainWavLM(model_config, len(material.voxels))
    story = material.stories["theriver"]
    measured = material.responses("theriver", torch.device("cpu"))
    model.train()
    torch.manual_seed(1)
    loss = training_loss("voxels", model(story, 8, 12), measured[8:12])
    loss.backward()
    trained = {name: p.grad for name, p in model.encoder.named_parameters() if p.requires_grad}
    assert len(trained) == 9 * 3 * 2  # layers x q, k, v x A, B
    reached = [name for name, g in trained.items() if "lora_B" in name and g is not None and float(g.abs().max()) > 0]
    assert len(reached) >= 5 * 3  # layer drop leaves a few layers out of a step
    assert torch.isfinite(loss)
    features = model.encode_story(
        Story(load_audio(dataset.audio_path("theriver")), 30, model_config, for_training=False)
    )
    assert features.shape == (34, 768)
    assert torch.isfinite(features).all()
    assert features[8:].std(dim=0).median() > 1e-3  # speech is not one vector
