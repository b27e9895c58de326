"""Several subjects tune one encoder: one pass for all, a readout each, and everything after reads such a run."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import RunConfig, TrainConfig
from brainwavlm_fast.errors import ConfigError, DataError
from brainwavlm_fast.model import BrainWavLM, Encoder
from brainwavlm_fast.training import resume_run, start_run
from brainwavlm_fast.training.log import read_log
from brainwavlm_fast.training.losses import training_loss
from tests.helpers.tree import add_subject, make_tree


@pytest.fixture(scope="module")
def shared_config(two_subjects, tiny_wavlm):
    from brainwavlm_fast.config import preset

    model, train = preset("paper")
    model = replace(model, model=str(tiny_wavlm), layer=2, stride=1.0, bottleneck=6)
    train = replace(train, epochs=2, save_every=2, validation=("fromboyhoodtofatherhood",), lr_encoder=1e-2)
    train = replace(train, subject="UTS01", more_subjects=("UTS02",))
    return RunConfig(str(two_subjects), "paper", model, train)


@pytest.fixture(scope="module")
def shared(shared_config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "shared"
    start_run(run, shared_config)
    return run


def test_a_run_on_two_subjects_holds_both(shared, shared_config):
    assert RunConfig.from_json(shared / "config.json").train.subjects == ("UTS01", "UTS02")
    summary = json.loads((shared / "summary.json").read_text())
    assert summary["data"]["subjects"] == {
        "UTS01": {"n_voxels": 39, "n_excluded": 1, "n_training_stories": 2},
        "UTS02": {"n_voxels": 30, "n_excluded": 0, "n_training_stories": 1},
    }
    assert summary["data"]["n_voxels"] == 69
    for subject, n in (("UTS01", 39), ("UTS02", 30)):
        with h5py.File(shared / f"voxels-{subject}.hf5") as file:
            assert len(file["trained"]) == n
            assert file.attrs["subject"] == subject
    model = BrainWavLM.from_pretrained(shared / "checkpoints" / "epoch-002")
    assert model.n_voxels == {"UTS01": 39, "UTS02": 30}
    with pytest.raises(ConfigError, match="UTS01, UTS02"):
        model.readout_of("UTS03")
    before, after = (load_file(shared / f"checkpoints/epoch-00{e}/readout.safetensors") for e in (0, 2))
    assert before.keys() == after.keys()
    assert {key.split(".")[0] for key in after} == {"UTS01", "UTS02"}
    assert all(not torch.equal(before[key], after[key]) for key in after)
    validations = [r for r in read_log(shared / "log.jsonl") if r["kind"] == "validation"]
    for record in validations:
        apart = [record["subjects"][name]["fromboyhoodtofatherhood"]["loss"] for name in ("UTS01", "UTS02")]
        assert record["stories"]["fromboyhoodtofatherhood"]["loss"] == pytest.approx(np.mean(apart))
        assert apart[0] != apart[1]


def test_the_loss_is_the_mean_over_who_heard_the_story_from_one_pass(shared, shared_config, monkeypatch):
    """The first step, computed anew subject by subject, randomness included."""
    from brainwavlm_fast.data import Dataset
    from brainwavlm_fast.distributed import SINGLE_PROCESS
    from brainwavlm_fast.progress import Progress
    from brainwavlm_fast.training.gradient import BlockGradient
    from brainwavlm_fast.training.randomness import keyed
    from brainwavlm_fast.training.training_data import choose_voxels, open_training_data

    dataset = Dataset(shared_config.data)
    training_data = open_training_data(
        shared_config, dataset, *choose_voxels(shared_config, dataset, Progress()), Progress()
    )
    steps = [r for r in read_log(shared / "log.jsonl") if r["kind"] == "step"]
    calls = []
    real = Encoder.transformer
    monkeypatch.setattr(Encoder, "transformer", lambda self, *a: calls.append(1) or real(self, *a))
    of_one_subject = next(b for b in training_data.blocks if len(training_data.heard_by(b.story)) == 1)
    for block in (training_data.blocks[0], of_one_subject):
        model = BrainWavLM.from_pretrained(shared / "checkpoints" / "epoch-000").train()
        heard = training_data.heard_by(block.story)
        measured = {s: training_data.responses(s, block.story)[block.start : block.stop] for s in heard}
        apart, story = [], training_data.stories[block.story]
        windows, _ = story.rows(*model.block_span(story, block.start, block.stop, with_context=True)[:2])
        with keyed(shared_config.train.seed, 1, 0):
            draws = model.encoder.draw(story.plan.lengths[windows])
        for subject in heard:
            calls.clear()
            with monkeypatch.context() as patched, keyed(shared_config.train.seed, 1, 0, 1):
                patched.setattr(Encoder, "draw", lambda self, n_samples, draws=draws: draws)
                predicted = model(story, block.start, block.stop, subject=subject)
            apart.append(float(training_loss("voxels", predicted.detach(), measured[subject])))
        once = len(calls)
        calls.clear()
        gradient = BlockGradient(model, shared_config.train, training_data, SINGLE_PROCESS)
        loss = float(gradient.compute(1, [block], measured, stop=False)[0])
        assert len(calls) == once
        assert loss == pytest.approx(np.mean(apart), abs=1e-6)
        if block is training_data.blocks[0]:
            assert loss == pytest.approx(steps[0]["loss"], abs=1e-4)  # its front end was kept
        trained = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None and n[:7] == "readout"}
        assert trained == set(heard)


def test_a_stopped_run_on_two_subjects_goes_on(shared, shared_config, tmp_path, monkeypatch):
    from brainwavlm_fast.training import gradient as gradient_module

    calls, real = [], gradient_module.training_loss

    def dies(*arguments):
        calls.append(1)
        if len(calls) > 7:
            raise RuntimeError("power cut")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(gradient_module, "training_loss", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            start_run(tmp_path / "run", shared_config)
    resume_run(tmp_path / "run")
    a, b = (load_file(run / "checkpoints/epoch-002/readout.safetensors") for run in (shared, tmp_path / "run"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_comes_after_training_reads_such_a_run(shared, two_subjects, tmp_path):
    def bwlm(*words):
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    options = ("--chunk", 4)
    first = bwlm("evaluate", shared, *options)
    second = bwlm("evaluate", shared, *options, "--subject", "S02", "--epochs", 2)
    assert (first["subject"], second["subject"]) == ("UTS01", "UTS02")
    assert first["encoding"]["all"]["n_voxels"] == 39
    assert second["encoding"]["all"]["n_voxels"] == 30
    assert (shared / "evaluation-UTS02" / "summary.json").is_file()
    moved = bwlm("transfer", shared, "--subjects", "S01,S02", "--chunk", 4, "--out", tmp_path / "transfer")
    assert moved["rows"] == ["UTS01+UTS02-all"]
    written = bwlm("features", shared, "--out", tmp_path / "f.h5", "--layers", 2, "--data", two_subjects)
    assert written["source"] == "UTS01+UTS02-all"
    probed = bwlm("probe", shared, "--layers", 2, "--chunk", 4, "--out", tmp_path / "probes")
    assert "UTS01+UTS02-all" in next(iter(probed["targets"].values()))["tuned"]
    refused = CliRunner().invoke(app, ["evaluate", str(shared), "--subject", "S03"])
    assert refused.exit_code == 2
    assert "unknown subject 'S03'" in refused.stderr


def test_subjects_that_will_not_do(two_subjects, shared_config, tiny_wavlm, tmp_path):
    with pytest.raises(ConfigError, match="UTS01 is named more than once"):
        TrainConfig(subject="UTS01", more_subjects=("UTS01",))
    with pytest.raises(ConfigError, match="target is the same"):
        TrainConfig(target="a.h5", more_subjects=("UTS02",))
    root = make_tree(tmp_path / "tree")
    add_subject(root, "UTS02", n_voxels=20, stories=("avatar", "fromboyhoodtofatherhood", "wheretheressmoke"))
    (root / "derivative/preprocessed_data/UTS01/avatar.hf5").unlink()
    apart = replace(shared_config, data=str(root))
    with pytest.raises(DataError, match="UTS01 shares no training story with UTS02"):
        start_run(tmp_path / "run", apart)
    twice = replace(shared_config, train=replace(shared_config.train, subject="S01", more_subjects=("UTS01",)))
    with pytest.raises(ConfigError, match="named more than once"):
        start_run(tmp_path / "run", twice)
    base = ["train", "--data", str(two_subjects), "--model", str(tiny_wavlm), "--layer", "2", "--out"]
    for words, says in (
        (["--subject", "S01,S01"], "more than once"),
        (["--subject", "S01,UTS01"], "more than once"),
        (["--subject", "S01,S07"], "unknown subject 'S07'"),
        (["--subject", ","], "--subject is needed"),
        (["--subject", "S01", "--parallelism", "voxels"], "parallelism is 'voxels'; it must be one of windows, blocks"),
    ):
        result = CliRunner().invoke(app, [*base, str(tmp_path / "run"), *words])
        assert result.exit_code == 2, result.output
        assert says in result.stderr
        assert not (tmp_path / "run").exists()


def test_a_configuration_from_before_there_were_several_subjects_opens(shared_config, tmp_path):
    path = tmp_path / "config.json"
    replace(shared_config, train=replace(shared_config.train, more_subjects=())).to_json(path)
    values = json.loads(path.read_text())
    for name in ("more_subjects", "parallelism", "carry_context", "responses_gb"):
        del values["train"][name]
    path.write_text(json.dumps(values))
    assert RunConfig.from_json(path).train.subjects == ("UTS01",)
