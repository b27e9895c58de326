"""The commands to repeat a run mean the run: they are given to the command line, and what it was asked is compared."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import ModelConfig, RunConfig, TrainConfig, preset
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
        ({"lora_rank": 8, "lora_alpha": 8.0, "lora_dropout": 0.0, "regularizers": False, "bottleneck": 0}, {"seed": 7}),
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


OTHER_VALUES = {
    "model": "other/wavlm", "revision": "v1.1", "layer": 6, "token": "mean", "window": 2.5, "stride": 0.125,
    "lanczos_lobes": 2, "negative_lobes": False, "clock": "scanner", "delays": (0, 2, 5), "finetune": "full",
    "lora_rank": 8, "lora_alpha": 16.5, "lora_dropout": 0.0, "bottleneck": 0, "readout_bias": "uniform",
    "regularizers": False,
    "subject": "UTS03", "roi": "lh & svg:V1", "target": "/data/my target.hf5", "validation": ("a", "b"),
    "test": ("c",), "loss": "mse", "block_size": 25, "block_context": False, "lr_encoder": 3e-3,
    "lr_readout": 1.2345678901e-5, "epochs": 3, "seed": 7, "story_order": "python", "precision": "bf16",
    "save_every": 9, "cache_gb": 0.5, "cache_dir": "/tmp/my fronts", "cache_dtype": "fp32",
    "activation_checkpointing": "on", "more_subjects": ("UTS02", "UTS05"), "carry_context": True,
    "responses_gb": 9.25, "parallelism": "blocks",
}  # fmt: skip
FIELDS = [(cls, field.name) for cls in (ModelConfig, TrainConfig) for field in fields(cls)]


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[name for _, name in FIELDS])
def test_every_field_of_the_configuration_is_repeated(monkeypatch, small_tree, cls, name):
    """Set it, take the report's command, and the command line makes the same run."""
    monkeypatch.setattr("brainwavlm_fast.data.Dataset.subject", lambda dataset, subject: subject)
    usual = RunConfig(str(small_tree))
    part = "model" if cls is ModelConfig else "train"
    config = replace(usual, **{part: replace(getattr(usual, part), **{name: OTHER_VALUES[name]})})
    assert config != usual
    (_, again), _ = asked(monkeypatch, "brainwavlm_fast.training.start_run", train_command(config, "out"))
    assert again == config


@pytest.mark.parametrize(
    ("words", "model", "train"),
    [
        ("--no-lora", {"finetune": "full"}, {}),
        ("--freeze", {"finetune": "frozen"}, {}),
        ("--no-regularisers", {"regularizers": False}, {}),
        ("--lora-rank 8", {"lora_rank": 8, "lora_alpha": 8.0}, {}),
        ("--lr 0.5", {}, {"lr_encoder": 0.5}),
        ("--memory recompute", {}, {"activation_checkpointing": "on"}),
        ("--memory keep", {}, {"activation_checkpointing": "off"}),
        ("--split blocks", {}, {"parallelism": "blocks"}),
        ("--carry-history", {}, {"carry_context": True}),
    ],
)
def test_older_options_still_work(monkeypatch, small_tree, words, model, train):
    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "100"}).output.split()
    if words != "--lora-rank 8":
        assert words.split()[0] not in shown
    usual = RunConfig(str(small_tree))
    wanted = replace(usual, model=replace(usual.model, **model), train=replace(usual.train, **train))
    given = ["train", "--subject", "S01", "--data", str(small_tree), *words.split()]
    (_, config), _ = asked(monkeypatch, "brainwavlm_fast.training.start_run", given)
    assert config == wanted


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
    assert (options["options"].block or "auto") == settings["block"]
    ridge = options["options"].ridge
    assert list(ridge.alphas) == pytest.approx(settings["ridge"]["alphas"], rel=1e-12)
    assert (ridge.chunk_length, ridge.n_splits, ridge.gap, ridge.seed) == (40, 3, 0, 0)
    (folders,), options = asked(monkeypatch, "brainwavlm_fast.probes.run.probe_runs", probe)
    assert (folders, options["options"].layers, options["out"]) == ([run], [0, 3, 4], run / "probes")
    (folders, out), options = asked(monkeypatch, "brainwavlm_fast.evaluation.transfer.transfer", transfer)
    assert (folders, out, options["subjects"]) == ([run], tmp_path / "transfer", ["UTS01", "UTS02"])
    (folders,), _ = asked(monkeypatch, "brainwavlm_fast.report.write_report", report)
    assert folders == [run, tmp_path / "transfer"]
