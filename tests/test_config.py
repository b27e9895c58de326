from __future__ import annotations

import json

import pytest

from brainwavlm_fast.config import ModelConfig, RunConfig, TrainConfig, as_dict, preset, preset_words, settings
from brainwavlm_fast.errors import ConfigError


def test_a_run_s_configuration_survives_json(tmp_path):
    config = RunConfig("/data", "paper", ModelConfig(delays=(1, 3)), TrainConfig(roi="lh", validation=()))
    config.to_json(tmp_path / "config.json")
    assert RunConfig.from_json(tmp_path / "config.json") == config


def test_the_paper_s_numbers():
    model, train = preset("paper")
    assert (model.model, model.layer, model.token) == ("microsoft/wavlm-base-plus", 9, "first")
    assert (model.window, model.stride, model.delays, model.bottleneck) == (4.0, 0.25, (1, 2, 3, 4), 100)
    assert (model.lora_rank, model.lora_alpha, model.lora_dropout, model.finetune) == (4, 4.0, 0.1, "lora")
    assert (train.loss, train.block_size, train.epochs, train.seed) == ("voxels", 10, 20, 42)
    assert train.lr_encoder == train.lr_readout == 1e-4
    assert (model.negative_lobes, model.clock, train.block_context, model.regularizers) == (True, "sound", True, True)


def test_the_authors_release_does_what_the_authors_scripts_do():
    model, train = preset("authors-release")
    assert (model.negative_lobes, model.clock, train.block_context) == (False, "scanner", False)
    assert (model.lora_dropout, model.readout_bias) == (0.0, "uniform")
    assert (train.story_order, train.seed) == ("python", 42)
    assert RunConfig("data", "authors-release", model, train).least_block == 2
    assert set(preset_words("authors-release").split(" --")) == {
        *("--no-negative-lobes", "clock scanner", "lora-dropout 0.0", "readout-bias uniform"),
        *("no-block-context", "story-order python"),
    }


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 1),
        ({"loss": "mse", "block_context": False}, 2),
        ({"loss": "time"}, 3),
        ({"delays": (0,)}, 2),  # no row before a block is among its context
    ],
)
def test_what_is_left_of_a_story_needs_a_gradient(changes, least):
    assert RunConfig("data").with_settings(changes).least_block == least


def test_unknown_preset():
    with pytest.raises(ConfigError, match="did you mean paper"):
        preset("papr")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": -1}, "layer is -1"),
        ({"layer": 0}, "at least 1 with LoRA"),
        ({"layer": 2.0}, "of type int"),
        ({"layer": True}, "of type int"),
        ({"token": "middle"}, "one of first, last, mean"),
        ({"stride": 0.0}, "stride is 0.0"),
        ({"stride": 5.0}, "not exceed window"),
        ({"stride": 1e-5}, "stride is 1e-05; it must be 0.02 or more"),
        ({"window": 0.02}, "window is 0.02; it must be 0.025 or more"),
        ({"window": float("nan")}, "finite"),
        ({"delays": ()}, "delays"),
        ({"delays": (1, 1)}, "distinct"),
        ({"delays": (-1, 2)}, "0 or more"),
        ({"delays": (1.5,)}, "list of int"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_dropout": 1.0}, "lora_dropout"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"test": ()}, "at least one story"),
        ({"loss": "voxel"}, "voxels, time, mse"),
        ({"loss": "time", "block_size": 2}, "3 or more"),
        ({"lr_readout": -1.0}, "lr_readout"),
        ({"save_every": 0}, "save_every"),
    ],
)
def test_training_values_that_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**values)


def change(path, edit):
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v["model"].update(lyer=9), "unknown key 'lyer': did you mean layer"),
        (lambda v: v["train"].pop("roi"), "missing roi"),
        (lambda v: v["model"].update(layer="nine"), "layer is 'nine'"),
        (lambda v: v.update(train=3), "expected an object"),
    ],
)
def test_a_file_that_will_not_do_is_named(tmp_path, edit, message):
    path = tmp_path / "config.json"
    RunConfig("/data").to_json(path)
    change(path, edit)
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.from_json(path)
    assert "config.json" in str(caught.value)


def test_defaults_are_plain_json():
    assert json.loads(json.dumps(as_dict(RunConfig("/data"))))["model"]["delays"] == [1, 2, 3, 4]


def test_a_configuration_from_before_a_field_was_there_opens(tmp_path):
    path = tmp_path / "config.json"
    RunConfig("data").to_json(path)
    values = json.loads(path.read_text())
    del values["train"]["target"]
    path.write_text(json.dumps(values))
    assert RunConfig.from_json(path) == RunConfig("data")


@pytest.mark.parametrize(
    ("roi", "name"),
    [
        ("nonac", "nonac"),
        ("all - ac", "all-minus-ac"),
        ("lh & (ac | a2009s:S_temporal_sup)", "lh-and-ac-or-a2009s-S_temporal_sup"),
        ("a2009s:G_temp_sup-Lateral", "a2009s-G_temp_sup-Lateral"),
        ("file:/data/my mask.nii.gz", "file-data-my-mask.nii.gz"),
    ],
)
def test_an_expression_of_voxel_sets_has_a_name_for_files(roi, name):
    train = TrainConfig(roi=roi)
    assert train.roi_name == name
    assert train.trained_on == train.set_as_written(name) == roi  # for people: as they asked for it
    assert train.set_as_written("lh") == "lh"
    assert train.label == f"{train.subject}-{name}"
    other = TrainConfig(roi=roi, target="/x/llama.hf5")
    assert (other.trained_on, other.label) == ("llama", f"{train.subject}-llama")


def test_a_configuration_under_older_names_opens(tmp_path):
    config = RunConfig(
        "/data",
        model=ModelConfig(finetune="full", regularizers=False),
        train=TrainConfig(activation_checkpointing="on", parallelism="blocks", block_context=False),
    )
    values = as_dict(config)
    for part, new, old in (
        ("model", "finetune", "tune"),
        ("model", "regularizers", "regularisers"),
        ("train", "block_context", "block_history"),
        ("train", "carry_context", "carry_history"),
        ("train", "parallelism", "split"),
        ("train", "activation_checkpointing", "memory"),
        ("train", "lr_encoder", "lr"),
    ):
        values[part][old] = values[part].pop(new)
    values["train"]["memory"] = "recompute"
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert RunConfig.from_json(tmp_path / "config.json") == config


def test_a_file_of_another_version_is_refused_by_its_version(tmp_path):
    RunConfig("/data").to_json(tmp_path / "config.json")
    values = json.loads((tmp_path / "config.json").read_text())
    assert RunConfig.from_json(tmp_path / "config.json") == RunConfig("/data")
    values["package_version"], values["train"]["warmup"] = "9.1.0", 3
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"config.json: train was written by version 9.1.0 .* unknown key 'warmup'"):
        RunConfig.from_json(tmp_path / "config.json")


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_the_table_is_the_documentation(cls):
    for setting in settings(cls):
        assert f"{setting.name} : " in cls.__doc__
        assert setting.option.help in cls.__doc__
