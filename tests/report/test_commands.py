"""The commands to repeat a run mean the run: they are given to the command line, and what it was asked is compared."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.report.commands import repeat_commands, train_command
from brainwavlm_fast.results.saved import open_saved
from tests.helpers.saved_runs import make_probes, make_saved_run, make_transfer


def asked(monkeypatch, where, words):
    """The arguments that a command line gives to its library call."""
    seen = []

    def instead(*arguments, **options):
        seen.append((arguments, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(where, instead)
    CliRunner().invoke(app, words)
    return seen[0]


@pytest.mark.parametrize("name", ["paper", "authors-release"])
@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({}, {}),
        (
            {"layer": 6, "token": "mean", "window": 2.0, "stride": 0.125, "finetune": "full"},
            {"roi": "lh", "precision": "bf16"},
        ),
        ({"lora_rank": 8, "lora_alpha": 8.0, "lora_dropout": 0.0, "regularisers": False, "bottleneck": 0}, {"seed": 7}),
        ({"finetune": "frozen"}, {"loss": "time", "block_size": 25, "lr_encoder": 3e-3, "lr_readout": 1.25e-5}),
        ({}, {"validation": ("a", "b"), "test": ("c",), "epochs": 3, "save_every": 9, "cache_gb": 0.5}),
        (
            {},
            {"more_subjects": ("UTS02", "UTS03"), "carry_context": True, "parallelism": "blocks", "responses_gb": 9.0},
        ),
        ({}, {"roi": "lh & (ac | svg:V1)", "target": "/data/my target.hf5"}),
    ],
)
def test_training_is_repeated_with_the_same_configuration(monkeypatch, small_tree, name, model, train):
    usual_model, usual_train = preset(name)
    if not usual_train.block_context:
        train = {key: value for key, value in train.items() if key != "carry_context"}
    monkeypatch.setattr("brainwavlm_fast.data.Dataset.subject", lambda dataset, subject: subject)
    config = RunConfig(str(small_tree), name, replace(usual_model, **model), replace(usual_train, **train))
    (folder, again), _ = asked(monkeypatch, "brainwavlm_fast.training.start_run", train_command(config, "out here"))
    assert again == config
    assert str(folder) == "out here"


def test_every_step_is_repeated_with_the_same_options(monkeypatch, tmp_path, planted_tree):
    run = make_saved_run(tmp_path / "a run", data=planted_tree[0], roi="all")
    make_probes(run / "probes", {"UTS01-all": 0.1}, layers=(0, 3, 4))
    saved = open_saved([run, make_transfer(tmp_path / "transfer", rows=("UTS01-all",))])
    commands = [shlex.split(line) for line in repeat_commands(saved)]
    assert [words[:2] for words in commands] == [
        ["bwlm", name] for name in ("train", "evaluate", "probe", "transfer", "report")
    ]
    evaluate, probe, transfer, report = (words[1:] for words in commands[1:])
    (folder,), options = asked(monkeypatch, "brainwavlm_fast.evaluation.evaluate.evaluate_run", evaluate)
    settings = json.loads((run / "evaluation/summary.json").read_text())["settings"]
    assert folder == run
    assert options["options"].epochs == [2, 4]
    assert options["options"].n_permutations == settings["n_permutations"]
    ridge = options["options"].ridge
    assert list(ridge.alphas) == pytest.approx(settings["ridge"]["alphas"], rel=1e-12)
    assert (ridge.chunk_length, ridge.n_splits, ridge.gap, ridge.seed) == (40, 3, 0, 0)
    (folders,), options = asked(monkeypatch, "brainwavlm_fast.probes.run.probe_runs", probe)
    assert (folders, options["options"].layers, options["out"]) == ([run], [0, 3, 4], run / "probes")
    (folders, out), options = asked(monkeypatch, "brainwavlm_fast.evaluation.transfer.transfer", transfer)
    assert (folders, out, options["subjects"]) == ([run], tmp_path / "transfer", ["UTS01", "UTS02"])
    (folders,), _ = asked(monkeypatch, "brainwavlm_fast.report.write_report", report)
    assert folders == [run, tmp_path / "transfer"]
