"""Evaluating a run folder: what is written, the choice of the epoch, resuming, reading back, bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch import Tensor

from brainwavlm_fast.config import Places
from brainwavlm_fast.data import Dataset, load_audio, make_split
from brainwavlm_fast.errors import BwlmError, CheckpointError, ConfigError, DataError
from brainwavlm_fast.evaluation.encoding import EncodingSettings, RidgeSettings, encode
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.evaluation.responses import DatasetResponses
from brainwavlm_fast.model import BrainWavLM, Encoder, Story, story_features
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.results.folders import teacher_score
from brainwavlm_fast.stats.noise_ceiling import noise_ceiling
from tests.helpers.run_folder import CONSTANT_VOXEL, N_VOXELS, NAN_VOXEL, STORIES, make_run

RIDGE = RidgeSettings(chunk_length=4)
OPTIONS = EvaluationOptions(ridge=RIDGE)


class Listener(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, tree: Path, tiny_wavlm: Path) -> tuple[Path, dict]:
    run = make_run(tmp_path_factory.mktemp("runs") / "run", tree, tiny_wavlm)
    return run, evaluate_run(run, options=OPTIONS)


def by_hand(run: Path, tree: Path, epoch: int, alphas: object = None) -> object:
    """The same epoch from the public parts: a model opened from its folder, features story by story, ridge."""
    dataset = Dataset(tree)
    model = BrainWavLM.from_pretrained(run / "checkpoints" / f"epoch-{epoch:03d}")
    features = {
        story: model.story_features(load_audio(dataset.audio_path(story)), n_trs) for story, n_trs in STORIES.items()
    }
    split = make_split(dataset.stories("UTS02"))
    return encode(features, DatasetResponses(dataset, "UTS02"), EncodingSettings(split, ridge=RIDGE), alphas=alphas)


def test_summary_holds_what_the_voxel_arrays_say(evaluated: tuple[Path, dict]) -> None:
    run, summary = evaluated
    assert json.loads((run / "evaluation/summary.json").read_text()) == summary
    with h5py.File(run / "evaluation/voxels.hf5") as file:
        arrays = {name: file[name][:] for name in ("encoding/pretrained", "encoding/tuned", "excluded", "curve/test")}
        sets = {name: mask[:] for name, mask in file["voxel_sets"].items()}
    assert set(summary["encoding"]) == set(sets) == {"all", "lh", "rh", "ac", "nonac"}
    assert np.array_equal(np.flatnonzero(arrays["excluded"]), [NAN_VOXEL, CONSTANT_VOXEL])
    for name, mask in sets.items():
        numbers = summary["encoding"][name]
        for kind in ("pretrained", "tuned"):
            assert numbers[kind] == pytest.approx(np.nanmean(arrays[f"encoding/{kind}"][mask]), abs=1e-12)
        assert numbers["n_voxels"] == (mask & ~arrays["excluded"]).sum()
        assert numbers["n_voxels"] + numbers["n_excluded"] == mask.sum()
        assert numbers["teacher"] is None
        assert numbers["difference"] == pytest.approx(numbers["tuned"] - numbers["pretrained"])
        for kind in ("pretrained", "tuned", "difference"):
            low, high = numbers["intervals"][kind]
            assert high - low == pytest.approx(2 * 2.446912 * numbers["standard_errors"][kind])  # t of 6
        assert (numbers["intervals"]["percent"] is None) >= (numbers["pretrained"] <= 0)
    ends = summary["encoding"]["all"]["intervals"]["tuned"]
    assert ends[0] < summary["encoding"]["all"]["tuned"] < ends[1]
    assert summary["curve"][0]["intervals"]["validation"]["all"] is None  # 12 TRs are too short
    assert summary["noise_ceiling"] is None
    assert summary["encoding"]["ac"]["n_excluded"] == 1
    assert arrays["curve/test"].shape == (3, N_VOXELS)
    assert summary["data"]["version"] == "unknown"
    assert summary["provenance"]["versions"]["numpy"] == np.__version__
    assert summary["config"]["train"]["roi"] == summary["trained_on"] == "nonac"
    assert not (run / "evaluation/features").exists()


def test_every_epoch_equals_the_model_opened_by_hand(evaluated: tuple[Path, dict], tree: Path) -> None:
    run, summary = evaluated
    first = by_hand(run, tree, 0)
    assert summary["curve"][0]["test"]["all"] == pytest.approx(np.nanmean(first.mean_test), abs=1e-6)
    for epoch in (1, 2):
        expected = by_hand(run, tree, epoch, first.alphas)
        point = summary["curve"][epoch]
        assert point["epoch"] == epoch
        assert point["test"]["all"] == pytest.approx(np.nanmean(expected.mean_test), abs=1e-6)
        assert point["validation"]["all"] == pytest.approx(np.nanmean(expected.mean_validation), abs=1e-6)
    assert len({point["test"]["all"] for point in summary["curve"]}) == 3


def test_the_best_epoch_is_chosen_by_validation_and_cross_validated_anew(
    evaluated: tuple[Path, dict], tree: Path
) -> None:
    run, summary = evaluated
    validation = [point["validation"]["nonac"] for point in summary["curve"]]
    best = summary["best_epoch"]
    assert best == int(np.argmax(validation))
    expected = by_hand(run, tree, best)
    assert summary["encoding"]["all"]["tuned"] == pytest.approx(np.nanmean(expected.mean_test), abs=1e-6)
    assert "validation" in summary["best_epoch_by"]


def test_a_frozen_encoder_gains_exactly_nothing(tmp_path: Path, tree: Path, tiny_wavlm: Path) -> None:
    run = make_run(tmp_path / "frozen", tree, tiny_wavlm, finetune="frozen")
    summary = evaluate_run(run, options=OPTIONS)
    with h5py.File(run / "evaluation/voxels.hf5") as file:
        curve = file["curve/test"][:]
        assert np.array_equal(file["encoding/tuned"][:], file["encoding/pretrained"][:], equal_nan=True)
    assert np.array_equal(curve[0], curve[1], equal_nan=True)
    assert np.array_equal(curve[0], curve[2], equal_nan=True)
    assert summary["best_epoch"] == 0


def test_an_evaluation_that_is_there_is_read_back_and_no_other_overwrites_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = evaluate_run(run, options=OPTIONS)
    before = (run / "evaluation/summary.json").stat().st_mtime_ns
    listener = Listener()
    with monkeypatch.context() as patch:
        patch.setattr("brainwavlm_fast.evaluation.epoch_selection.encode", None)  # nothing may be computed
        assert evaluate_run(run, options=OPTIONS, progress=listener) == summary
    assert any("already" in said for said in listener.said)
    with pytest.raises(BwlmError, match=r"other settings \(ridge\).*--out evaluation-2"):
        evaluate_run(run, options=replace(OPTIONS, ridge=replace(RIDGE, seed=1)))
    with pytest.raises(BwlmError, match=r"other settings \(epochs\)"):
        evaluate_run(run, options=replace(OPTIONS, epochs=[1]))
    assert (run / "evaluation/summary.json").stat().st_mtime_ns == before
    other = evaluate_run(run, options=replace(OPTIONS, epochs=[1]), out="evaluation-2")
    assert [point["epoch"] for point in other["curve"]] == [0, 1]
    assert other["curve"][1]["test"] == summary["curve"][1]["test"]


COMPUTED_BY = "brainwavlm_fast.features.store.story_features"


def test_a_stopped_evaluation_goes_on_from_the_features_it_has(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Story] = []

    def counting(encoder: Encoder, story: Story, **options: Any) -> Tensor:
        computed.append(story)
        return story_features(encoder, story, **options)

    def stopping(encoder: Encoder, story: Story, **options: Any) -> Tensor:
        if len(computed) == 5:
            raise KeyboardInterrupt
        return counting(encoder, story, **options)

    with monkeypatch.context() as patch:
        patch.setattr(COMPUTED_BY, stopping)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(run, options=OPTIONS)
    assert len(list((run / "evaluation/features").rglob("*.hf5"))) == 5
    damaged = next((run / "evaluation/features").rglob("*.hf5"))
    damaged.write_bytes(b"cut off")
    monkeypatch.setattr(COMPUTED_BY, counting)
    resumed = evaluate_run(run, options=OPTIONS)
    assert len(computed) == 5 + (3 * 4 - 5 + 1)
    shutil.rmtree(run / "evaluation")
    whole = evaluate_run(run, options=OPTIONS)
    assert resumed == whole


def test_without_a_validation_story_the_last_epoch_stands(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["train"]["validation"] = []
    (run / "config.json").write_text(json.dumps(config))
    summary = evaluate_run(run, options=OPTIONS)
    assert summary["best_epoch"] == 2
    assert "no validation story" in summary["best_epoch_by"]
    assert summary["curve"][0]["validation"]["all"] is None


def test_a_simulated_brains_teacher_is_reported(run: Path, tree: Path, tmp_path: Path) -> None:
    planted = shutil.copytree(tree, tmp_path / "planted")
    (planted / "truth").mkdir()
    values = np.linspace(0.1, 0.5, N_VOXELS)
    with h5py.File(planted / "truth/UTS02.hf5", "w") as file:
        file["teacher_ridge"] = values
    summary = evaluate_run(run, places=Places(planted), options=OPTIONS)
    kept = np.delete(values, [NAN_VOXEL, CONSTANT_VOXEL])
    assert summary["encoding"]["all"]["teacher"] == pytest.approx(kept.mean())
    with h5py.File(planted / "truth/UTS02.hf5", "w") as file:
        file["teacher_ridge"] = values[:-1]
    with pytest.raises(DataError, match="30 voxels"):
        evaluate_run(run, places=Places(planted), options=OPTIONS, out="again")


def test_significance_and_noise_ceiling_of_the_test_story(run: Path, tree: Path, tmp_path: Path) -> None:
    planted = shutil.copytree(tree, tmp_path / "planted")
    path = Dataset(planted).response_path("UTS02", "wheretheressmoke")
    generator = np.random.default_rng(0)
    repeats = generator.standard_normal((3, 44, N_VOXELS)) + generator.standard_normal((44, N_VOXELS))
    repeats[:, :, 10:] = generator.standard_normal((3, 44, N_VOXELS - 10))
    repeats[:, :, 5] = repeats[0, :, 5]
    with h5py.File(path, "a") as file:
        file["individual_repeats"] = repeats
    summary = evaluate_run(run, places=Places(planted), options=OPTIONS)
    with h5py.File(run / "evaluation/voxels.hf5") as file:
        arrays = {name: file[name][:] for name in ("noise_ceiling", "normalised/tuned", "encoding/tuned")}
        p, q = file["significance/tuned/p"][:], file["significance/tuned/q"][:]
        better = file["significance/gain/q"][:] <= 0.05
    expected = noise_ceiling(repeats.astype(np.float32))
    np.testing.assert_allclose(arrays["noise_ceiling"], expected.value, atol=1e-6)
    assert arrays["normalised/tuned"][5] == pytest.approx(arrays["encoding/tuned"][5])
    excluded = [NAN_VOXEL, CONSTANT_VOXEL]
    assert np.isnan(p[excluded]).all()
    assert np.delete(p, excluded).min() > 0
    counts = summary["significance"]["all"]
    assert counts["tuned"] == (q <= 0.05).sum()
    assert counts["better"] + counts["worse"] == better.sum()
    ceiling = summary["noise_ceiling"]
    assert ceiling["n_repeats"] == 3
    assert "Sahani" in ceiling["estimator"]
    assert "selected on the test data" in ceiling["caveat"]
    assert "neither" in ceiling["data_is"]
    assert not ceiling["fits"]
    counted = expected.repeats.copy()
    counted[excluded] = False
    numbers, r = ceiling["sets"]["all"], arrays["encoding/tuned"][counted]
    assert 5 < counted.sum() < 28
    assert numbers["n_normalised"] == counted.sum()
    assert numbers["ceiling"] == pytest.approx(expected.value[counted].mean())
    assert numbers["tuned"] == pytest.approx((r / expected.value[counted]).mean())
    assert numbers["ratio_of_means"]["tuned"] == pytest.approx(r.mean() / expected.value[counted].mean())


def test_runs_that_will_not_do(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run"):
        evaluate_run(tmp_path)
    with pytest.raises(ConfigError, match=r"no checkpoint of epoch 7; saved: 0, 1, 2"):
        evaluate_run(run, options=EvaluationOptions([7]))
    for name in ("", "..", "a/b", "checkpoints", "/tmp"):
        with pytest.raises(ConfigError, match="--out"):
            evaluate_run(run, out=name)
    with pytest.raises(DataError, match="no such data folder"):
        evaluate_run(run, places=Places(tmp_path / "nowhere"))
    weights = run / "checkpoints/epoch-001/adapter/adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-50])
    with pytest.raises(CheckpointError, match="adapter_model"):
        evaluate_run(run, options=OPTIONS)
    (run / "checkpoints/epoch-001/state.json").write_text(
        json.dumps({"files": {"adapter/adapter_model.safetensors": "0" * 64}})
    )
    with pytest.raises(CheckpointError, match="damaged"):
        evaluate_run(run, options=OPTIONS)
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        evaluate_run(run, options=OPTIONS)
    shutil.rmtree(run / "checkpoints/epoch-000")
    with pytest.raises(CheckpointError, match="epoch-000"):
        evaluate_run(run, options=OPTIONS)
    assert not (run / "evaluation/summary.json").exists()


def test_results_of_an_earlier_version_are_named(run: Path) -> None:
    evaluate_run(run, options=OPTIONS)
    path = run / "evaluation/summary.json"
    summary = json.loads(path.read_text())
    del summary["settings"]["base"]
    path.write_text(json.dumps(summary))
    with pytest.raises(BwlmError, match=r"results of an earlier version \(.+\), which did not record base"):
        evaluate_run(run, options=OPTIONS)


def test_what_earlier_versions_called_ceiling_is_read() -> None:
    assert teacher_score({"teacher": 0.5}) == teacher_score({"ceiling": 0.5}) == 0.5
    assert teacher_score({"ceiling": None}) is None
