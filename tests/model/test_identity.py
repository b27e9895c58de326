"""What features depend on: a weight of the base model that is changed in place is noticed wherever it matters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from brainwavlm_fast.config import ModelConfig, Places, RunConfig
from brainwavlm_fast.errors import BwlmError, CheckpointError
from brainwavlm_fast.evaluation.encoding import RidgeSettings
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.evaluation.transfer import transfer
from brainwavlm_fast.features.export import export_features
from brainwavlm_fast.model import BrainWavLM
from brainwavlm_fast.model.identity import features_identity, tensors_digest
from brainwavlm_fast.probes.fit import ProbeSettings
from brainwavlm_fast.probes.run import ProbeOptions, probe_runs
from brainwavlm_fast.training import resume_run, start_run
from tests.helpers.run_folder import make_run
from tests.helpers.tiny import change_weight, open_encoder

RIDGE = RidgeSettings(chunk_length=4)
OPTIONS = EvaluationOptions(ridge=RIDGE)
PROBES = ProbeOptions([1, 2], settings=ProbeSettings(chunk_length=4))
REFUSED = r"was tuned on a base model with digest \w{12}, but .*wavlm now holds weights with digest \w{12}"


@pytest.fixture
def base(tiny_wavlm: Path, tmp_path: Path) -> Path:
    """A base model that may be changed."""
    return shutil.copytree(tiny_wavlm, tmp_path / "wavlm")


@pytest.fixture
def own_run(base: Path, tree: Path, tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", tree, base, n_epochs=1)


def test_evaluate_refuses_another_base_even_where_results_are_there(own_run: Path, base: Path) -> None:
    summary = evaluate_run(own_run, options=OPTIONS)
    saved = json.loads((own_run / "checkpoints/epoch-000/brainwavlm.json").read_text())
    assert summary["settings"]["base"] == saved["base"]["digest"]
    change_weight(base)
    for out in ("evaluation", "again"):
        with pytest.raises(CheckpointError, match=REFUSED):
            evaluate_run(own_run, options=OPTIONS, out=out)


def test_resume_refuses_another_base(config: RunConfig, base: Path, tmp_path: Path) -> None:
    run = tmp_path / "resumed"
    start_run(run, replace(config, model=replace(config.model, model=str(base)), train=replace(config.train, epochs=1)))
    (run / "summary.json").unlink()
    change_weight(base)
    with pytest.raises(CheckpointError, match=REFUSED):
        resume_run(run)


def test_probes_of_a_run_refuse_another_base(own_run: Path, base: Path, tree: Path) -> None:
    probe_runs([own_run], places=Places(tree), options=PROBES)
    change_weight(base)
    with pytest.raises(CheckpointError, match=REFUSED):
        probe_runs([own_run], places=Places(tree), options=PROBES)


def test_features_of_a_run_refuse_another_base(own_run: Path, base: Path, tree: Path, tmp_path: Path) -> None:
    export_features(own_run, tmp_path / "a.h5", places=Places(tree), layers=[2], stories=["bicycle"])
    change_weight(base)
    with pytest.raises(CheckpointError, match=REFUSED):
        export_features(own_run, tmp_path / "b.h5", places=Places(tree), layers=[2], stories=["bicycle"])


def test_transfer_refuses_another_base(own_run: Path, base: Path, tmp_path: Path) -> None:
    evaluate_run(own_run, options=OPTIONS)
    change_weight(base)
    with pytest.raises(CheckpointError, match=REFUSED):
        transfer([own_run], tmp_path / "transfer", subjects=["S02"], ridge=RIDGE)


def test_a_changed_model_is_probed_and_exported_anew(base: Path, tree: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = replace(PROBES, layers=[0, 1])

    def values(path: str) -> np.ndarray:
        export_features(base, path, places=Places(tree), layers=[0, 1], stories=["bicycle"])
        with h5py.File(path) as file:
            return file["bicycle"][:]

    before, _ = probe_runs([], places=Places(tree, base), options=options, out="a")
    first = values("a.h5")
    change_weight(base)
    with pytest.raises(BwlmError, match=r"other settings \(base, sources\)"):
        probe_runs([], places=Places(tree, base), options=options, out="a")
    after, _ = probe_runs([], places=Places(tree, base), options=options, out="b")
    scores = [summary["targets"]["mel"]["pretrained"] for summary in (before, after)]
    assert scores[0][0] == scores[1][0]  # the weight is in the first layer
    assert scores[0][1] != scores[1][1]
    with pytest.raises(BwlmError, match="holds something else"):
        values("a.h5")
    second = values("b.h5")
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])


def test_a_model_is_opened_on_the_base_it_was_tuned_on_wherever_that_lies(own_run: Path, base: Path, tmp_path) -> None:
    moved = shutil.copytree(base, tmp_path / "moved-wavlm")
    BrainWavLM.from_pretrained(own_run / "checkpoints/epoch-001", base=moved)
    change_weight(moved, "encoder.layers.3.attention.q_proj.weight")  # above the layer that is read
    BrainWavLM.from_pretrained(own_run / "checkpoints/epoch-001", base=moved)
    change_weight(moved, "encoder.layers.1.attention.q_proj.weight")
    with pytest.raises(CheckpointError, match=REFUSED):
        BrainWavLM.from_pretrained(own_run / "checkpoints/epoch-001", base=moved)


def test_a_model_of_an_earlier_version_opens_with_a_warning(own_run: Path) -> None:
    path = own_run / "checkpoints/epoch-001/brainwavlm.json"
    saved = json.loads(path.read_text())
    del saved["base"]
    path.write_text(json.dumps(saved))
    with pytest.warns(UserWarning, match="saved by earlier versions do not record the weights"):
        BrainWavLM.from_pretrained(path.parent)


def test_training_every_weight_does_not_change_what_is_recorded_of_the_base(base: Path, tmp_path: Path) -> None:
    model = BrainWavLM(ModelConfig(model=str(base), layer=2, finetune="full"), 3)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.1)
    model.save_pretrained(tmp_path / "saved")
    opened = BrainWavLM.from_pretrained(tmp_path / "saved")
    assert opened.encoder.pretrained.digest == open_encoder(base, layer=2).pretrained.digest


def test_digests_tell_names_types_shapes_and_values_apart() -> None:
    tensors = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.float64)},
        {"a": torch.zeros(4, dtype=torch.bfloat16)},
        {"a": torch.tensor([0.0, 0, 0, 1])},
        {"a": torch.tensor(0.0)},
    ]
    assert len({tensors_digest(each) for each in tensors}) == len(tensors)
    assert tensors_digest({"a": torch.ones(2), "b": torch.zeros(2)}) == tensors_digest(
        {"b": torch.zeros(2), "a": torch.ones(4)[::2]}
    )


def test_what_the_architecture_says_is_part_of_the_base(base: Path) -> None:
    before = open_encoder(base, layer=2).pretrained.digest
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 1e-3}))
    assert open_encoder(base, layer=2).pretrained.digest != before


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"stride": 0.5}, True),
        ({"layer": 3}, True),
        ({"clock": "scanner"}, True),
        ({"delays": (1, 2)}, True),  # fewer rows of context
        ({"delays": (2, 4)}, False),
        ({"model": "elsewhere"}, False),
        ({"bottleneck": 0}, False),
        ({"negative_lobes": False}, False),  # evaluation always has them
        ({"lora_alpha": 8.0}, True),
    ],
)
def test_settings_that_change_features_change_their_identity(change: dict, matters: bool) -> None:
    config = ModelConfig()
    before, after = (features_identity(c, base="b", tuned="t") for c in (config, replace(config, **change)))
    assert (before != after) is matters
