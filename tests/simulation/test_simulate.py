"""A whole planted brain, small enough for a test: its layout, its reproducibility, its refusals."""

from __future__ import annotations

import copy
import filecmp
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from brainwavlm_fast.check import check_dataset
from brainwavlm_fast.data import Dataset, load_audio, read_repeats, read_responses
from brainwavlm_fast.errors import BwlmError, ConfigError
from brainwavlm_fast.model import Encoder, Story, cache_front_end, load_wavlm
from brainwavlm_fast.simulation import Settings, planted_model, simulate
from brainwavlm_fast.simulation.settings import TEST
from brainwavlm_fast.simulation.truth import check_plant

TINY = Settings(
    seed=5, subjects=("UTS01", "UTS02"), null=True, n_training=2, training_trs=42, validation_trs=10, test_trs=30,
    n_voxels=60, n_ac=12, lesson_minutes=5.0, student_steps=4, teacher_steps=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulate") / "brain"
    return root, simulate(root, TINY)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_it_is_a_data_set_that_can_be_trained_on(made):
    root, _ = made
    dataset = Dataset(root)
    report = check_dataset(dataset)
    assert [problem for part in report.parts for problem in part.problems] == []
    assert report.trainable == ["UTS01", "UTS02"]
    for story, n_trs in TINY.stories.items():
        assert read_responses(dataset, "S01", story).shape == (n_trs, 60)
        assert len(load_audio(dataset.audio_path(story))) / 16_000 > 11 + 2 * (n_trs - 1)
    assert read_repeats(dataset, "S02", TEST).shape == (10, 30, 60)
    assert load_wavlm(str(root / "student")).config.hidden_size == 64


def test_responses_are_z_scored_and_subjects_differ(made):
    dataset = Dataset(made[0])
    story = TINY.training[0]
    one, two = (read_responses(dataset, subject, story) for subject in ("S01", "S02"))
    np.testing.assert_allclose(one.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(one.std(axis=0), 1, atol=1e-5)
    assert np.abs(one - two).max() > 1


def test_the_truth_lies_beside_it_and_is_ordered(made):
    root, result = made
    with h5py.File(root / "truth" / "UTS01.hf5") as file:
        assert sorted(file) == ["latents_ridge", "teacher_ridge", "true_signal"]
        assert all(file[name].shape == (60,) for name in file)
    for sets in result["truth"].values():
        assert sets["all"]["true_signal"] > sets["all"]["latents_ridge"]
        assert sets["all"]["true_signal"] > sets["all"]["teacher_ridge"]


def test_embeddings_are_in_gloves_format(made):
    lines = (made[0] / "derivative" / "embeddings.txt").read_text().splitlines()
    assert len(lines) == 36
    assert all(len(line.split()) == 13 for line in lines)


def test_the_same_seed_makes_the_same_files(made, tmp_path):
    root, _ = made
    simulate(tmp_path / "again", TINY)
    assert files(root) == files(tmp_path / "again")
    # gzip keeps the time
    stamped = {"truth/settings.json"} | {name for name in files(root) if name.endswith(".nii.gz")}
    same, differ, errors = filecmp.cmpfiles(root, tmp_path / "again", set(files(root)) - stamped, shallow=False)
    assert (differ, errors) == ([], [])
    assert len(same) > 20


def test_reuse_takes_the_models_and_gives_the_same_data(made, tmp_path, monkeypatch):

    from brainwavlm_fast.simulation import simulate as module  # the function; its module is patched below

    inside = sys.modules[module.__module__]
    monkeypatch.setattr(inside, "pretrain_student", lambda *_: pytest.fail("trained a student"))
    monkeypatch.setattr(inside, "fit_teacher", lambda *_: pytest.fail("fitted a teacher"))
    root, _ = made
    simulate(tmp_path / "reused", replace(TINY, subjects=("UTS01",)), reuse=root)
    for story in TINY.stories:
        ours, theirs = (read_responses(Dataset(r), "S01", story) for r in (root, tmp_path / "reused"))
        np.testing.assert_array_equal(ours, theirs)


def test_reuse_refuses_another_plant(made, tmp_path):
    with pytest.raises(BwlmError, match="its seed is 5, wanted 6"):
        simulate(tmp_path / "x", replace(TINY, seed=6), reuse=made[0])
    with pytest.raises(BwlmError, match="it has no UTS03"):
        simulate(tmp_path / "x", replace(TINY, subjects=("UTS03",)), reuse=made[0])
    with pytest.raises(BwlmError, match="not a simulated brain"):
        simulate(tmp_path / "x", TINY, reuse=tmp_path)
    assert not (tmp_path / "x").exists()


def test_a_folder_in_use_is_left_alone(made):
    root, _ = made
    before = files(root)
    with pytest.raises(BwlmError, match="exists and is not empty; nothing was written"):
        simulate(root, TINY)
    assert files(root) == before


@pytest.fixture(scope="module")
def heard(made):
    """The student, and a story with its front end kept."""
    config = planted_model(str(made[0] / "student"), finetune="frozen")
    encoder = Encoder(config).eval()
    audio = load_audio(Dataset(made[0]).audio_path(TEST))
    story = Story(audio, 20, config, for_training=False)
    cache_front_end(encoder, story)
    return encoder, story


@pytest.mark.parametrize(("student", "says"), [(0.20, "already predicts the simulated voxels"), (0.05, None)])
def test_a_plant_that_the_student_predicts_already_is_refused(heard, student, says):
    truth = {"validation_student": np.full(4, student), "validation_teacher": np.full(4, 0.3), "nonac": np.ones(4)}
    if says is None:
        check_plant(*heard, truth)
        return
    with pytest.raises(BwlmError, match=rf"{says}.*Use another seed"):
        check_plant(*heard, truth)


def test_a_student_with_uniform_attention_is_refused(heard):
    encoder, story = heard
    flat = copy.deepcopy(encoder)
    for layer in flat.base.encoder.layers:
        torch.nn.init.zeros_(layer.attention.q_proj.weight)
        torch.nn.init.zeros_(layer.attention.q_proj.bias)
    truth = {"validation_student": np.zeros(4), "validation_teacher": np.full(4, 0.3), "nonac": np.ones(4)}
    with pytest.raises(BwlmError, match="attention is uniform"):
        check_plant(flat, story, truth)


@pytest.mark.parametrize(
    "changes", [{"subjects": ("UTS09",)}, {"subjects": ()}, {"n_training": 0}, {"seed": -1}, {"lesson_minutes": 1.0}]
)
def test_settings_that_make_no_sense(changes):
    with pytest.raises(ConfigError):
        replace(TINY, **changes)
