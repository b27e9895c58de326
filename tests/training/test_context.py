"""Carried context: the context rows of a block are the last rows of the one before, without a gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.errors import ConfigError
from brainwavlm_fast.model import Encoder, Story
from brainwavlm_fast.training import gradient as gradient_module
from brainwavlm_fast.training import resume_run, start_run
from brainwavlm_fast.training.checkpoint import list_checkpoints
from brainwavlm_fast.training.log import read_log


def losses(run):
    return [r["loss"] for r in read_log(run / "log.jsonl") if r["kind"] == "step"]


@pytest.fixture
def carrying(config):
    return replace(config, train=replace(config.train, carry_context=True))


def test_where_the_encoder_does_not_change_carried_rows_are_the_true_ones(config, carrying, tmp_path):
    """Frozen and without dropout nothing makes the two differ but which windows go through together."""
    frozen = {"finetune": "frozen", "regularizers": False}
    for name, one in (("exact", config), ("carried", carrying)):
        start_run(tmp_path / name, replace(one, model=replace(one.model, **frozen)))
    np.testing.assert_allclose(losses(tmp_path / "carried"), losses(tmp_path / "exact"), atol=1e-5)


def test_fewer_rows_are_computed_and_they_alone_have_a_gradient(carrying, tmp_path, monkeypatch):
    spans, encoded, rows, encode = [], [], Story.rows, Encoder.encode

    def note_rows(self, first, last):
        if torch.is_grad_enabled():
            spans.append((first, last))
        return rows(self, first, last)

    def note_features(self, story, windows, **options):
        features = encode(self, story, windows, **options)
        if torch.is_grad_enabled():
            assert features.requires_grad
            encoded.append(len(windows))
        return features

    carried = []
    keep = gradient_module.CarriedContext

    def note(story, start, rows):
        assert not rows.requires_grad
        carried.append(len(rows))
        return keep(story, start, rows)

    monkeypatch.setattr(Story, "rows", note_rows)
    monkeypatch.setattr(Encoder, "encode", note_features)
    monkeypatch.setattr(gradient_module, "CarriedContext", note)
    once = replace(carrying.train, epochs=1, activation_checkpointing="off")
    start_run(tmp_path / "run", replace(carrying, train=once))
    # blocks at 0, 10, 20 of 23 and of 25 TRs: 13 rows where a story starts, then only those that are new
    assert spans == [(0, 13), (13, 23), (23, 26), (0, 13), (13, 23), (23, 28)]
    assert len(encoded) == len(spans)
    assert set(carried) == {3}


def test_it_differs_where_the_encoder_changes_and_resumes_to_the_last_bit(config, carrying, tmp_path, monkeypatch):
    start_run(tmp_path / "exact", config)
    start_run(tmp_path / "whole", carrying)
    first, second = np.array(losses(tmp_path / "exact")), np.array(losses(tmp_path / "whole"))
    assert first[0] == second[0]
    assert np.abs(first[1:] - second[1:]).max() > 1e-4
    calls, real = [], gradient_module.training_loss

    def dies(*arguments):
        calls.append(1)
        if len(calls) > 3:  # the last save is after step 2, inside a story
            raise RuntimeError("power cut")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(gradient_module, "training_loss", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            start_run(tmp_path / "cut", carrying)
    assert load_file(list_checkpoints(tmp_path / "cut")[-1] / "carried.safetensors")["rows"].shape == (3, 32)
    resume_run(tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_contradictions(config):
    with pytest.raises(ConfigError, match="blocks have no context"):
        replace(config.train, carry_context=True, block_context=False)
    words = ["train", "--subject", "S01", "--preset", "authors-release", "--carry-context", "--data", config.data]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "block_context is off" in result.stderr
