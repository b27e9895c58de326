"""A run, killed and resumed in every way, gives the numbers of a run that was left alone."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainwavlm_fast.config import RunConfig
from brainwavlm_fast.errors import BwlmError, CheckpointError, DataError
from brainwavlm_fast.model import BrainWavLM
from brainwavlm_fast.training import TrainingStopped, resume_run, start_run
from brainwavlm_fast.training import gradient as gradient_module
from brainwavlm_fast.training import loop as loop_module
from brainwavlm_fast.training import validation as validation_module
from brainwavlm_fast.training.checkpoint import list_checkpoints
from brainwavlm_fast.training.log import read_log


def losses(run):
    return [(r["step"], r["loss"], r["grad_norm"]) for r in read_log(run / "log.jsonl") if r["kind"] == "step"]


def validations(run):
    return [(r["epoch"], r["stories"]) for r in read_log(run / "log.jsonl") if r["kind"] == "validation"]


def weights(run, epoch):
    folder = run / "checkpoints" / f"epoch-{epoch:03d}"
    return {
        (path.name, name): tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same_run(one, other):
    assert losses(one) == losses(other)
    assert validations(one) == validations(other)
    a, b = weights(one, 2), weights(other, 2)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small_tree, tiny_wavlm, request):
    """The uninterrupted run of the ``config`` fixture."""
    from dataclasses import replace as change

    from brainwavlm_fast.config import preset

    model, train = preset("paper")
    model = change(model, model=str(tiny_wavlm), layer=2, stride=1.0, bottleneck=6)
    train = change(train, epochs=2, save_every=2, validation=("fromboyhoodtofatherhood",), lr_encoder=1e-2)
    run = tmp_path_factory.mktemp("runs") / "whole"
    start_run(run, RunConfig(str(small_tree), "paper", model, train))
    return run


def test_a_run_leaves_everything_it_should(whole, config):
    kept = replace(config, train=replace(config.train, activation_checkpointing="off"))  # what "auto" was settled to
    assert RunConfig.from_json(whole / "config.json") == kept
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["steps"] == 12
    assert summary["epochs"] == 2
    assert set(summary["readout_validation"]) == {"0", "1", "2"}
    assert summary["data"]["n_voxels"] == 39
    assert summary["data"]["n_excluded"] == 1
    assert summary["data"]["stories"]["test"] == ["wheretheressmoke"]
    assert [p.name for p in list_checkpoints(whole)] == ["epoch-000", "epoch-001", "epoch-002"]
    assert any((whole / "tensorboard").iterdir())
    with h5py.File(whole / "voxels.hf5") as file:
        assert list(file["excluded"]) == [3]
        assert len(file["trained"]) == 39
    assert BrainWavLM.from_pretrained(whole / "checkpoints" / "epoch-002").readout.n_voxels == 39


def test_every_step_is_logged_and_finite(whole):
    steps = losses(whole)
    assert [step for step, _, _ in steps] == list(range(1, 13))
    assert np.isfinite([value for _, *values in steps for value in values]).all()


def test_training_stories_are_shuffled_once_and_blocks_stay_in_order(whole):
    records = [r for r in read_log(whole / "log.jsonl") if r["kind"] == "step"]
    first, second = records[:6], records[6:]
    assert [(r["story"], r["start"]) for r in first] == [(r["story"], r["start"]) for r in second]
    assert {r["story"] for r in records} == {"alternateithicatom", "avatar"}
    for story in ("alternateithicatom", "avatar"):
        assert [r["start"] for r in first if r["story"] == story] == [0, 10, 20]


def test_epoch_zero_is_the_pretrained_encoder(whole):
    tensors = load_file(whole / "checkpoints" / "epoch-000" / "adapter" / "adapter_model.safetensors")
    changed = load_file(whole / "checkpoints" / "epoch-002" / "adapter" / "adapter_model.safetensors")
    zero = [name for name in tensors if "lora_B" in name]
    assert len(zero) == 6
    assert all(tensors[name].abs().max() == 0 for name in zero)
    assert all(changed[name].abs().max() > 0 for name in zero)


def test_only_two_checkpoints_keep_their_optimiser(whole):
    kept = sorted(p.parent.name for p in (whole / "checkpoints").glob("*/optimizer.safetensors"))
    assert kept == ["epoch-001", "epoch-002"]


def test_the_same_seed_gives_the_same_run_and_another_does_not(whole, config, tmp_path):
    start_run(tmp_path / "again", config)
    assert_same_run(whole, tmp_path / "again")
    start_run(tmp_path / "other", replace(config, train=replace(config.train, seed=7)))
    assert losses(whole) != losses(tmp_path / "other")


def test_front_end_on_disk_and_activations_computed_again_are_the_same_run(whole, config, tmp_path):
    train = replace(config.train, cache_dir=str(tmp_path / "fronts"), activation_checkpointing="on")
    summary = start_run(tmp_path / "run", replace(config, train=train))
    assert_same_run(whole, tmp_path / "run")
    assert summary["front_end"]["kept"] == "disk"
    assert summary["activation_checkpointing"] == "on"
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "fronts").iterdir()}
    assert len(files) == 3  # two training stories and one for validation
    start_run(tmp_path / "again", replace(config, train=replace(train, epochs=1)))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "fronts").iterdir()} == files


@pytest.mark.parametrize("stop_after", [1, 3, 6, 8, 11])
def test_an_exception_anywhere_and_resume(whole, config, tmp_path, monkeypatch, stop_after):
    calls = []
    real = gradient_module.training_loss

    def dies(kind, predicted, measured):
        calls.append(len(measured))
        if torch.is_grad_enabled() and sum(1 for n in calls if n <= 10) > stop_after:
            raise RuntimeError("power cut")
        return real(kind, predicted, measured)

    monkeypatch.setattr(gradient_module, "training_loss", dies)
    with pytest.raises(RuntimeError, match="power cut"):
        start_run(tmp_path / "run", config)
    monkeypatch.undo()
    summary = resume_run(tmp_path / "run")
    assert summary["steps"] == 12
    assert_same_run(whole, tmp_path / "run")


def test_a_signal_saves_and_stops(whole, config, tmp_path, monkeypatch):
    real = loop_module.Loop.train_step

    def step(self, *args):
        if self.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    monkeypatch.setattr(loop_module.Loop, "train_step", step)
    with pytest.raises(TrainingStopped, match=r"stopped after step 5.*--resume"):
        start_run(tmp_path / "run", config)
    monkeypatch.undo()
    assert list_checkpoints(tmp_path / "run")[-1].name == "step-0000005"
    resume_run(tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_complete_run_is_not_trained_again(whole):
    before = (whole / "log.jsonl").read_bytes()
    assert resume_run(whole)["steps"] == 12
    assert (whole / "log.jsonl").read_bytes() == before


def test_a_folder_in_use_is_not_written_over(whole, config, tmp_path):
    with pytest.raises(BwlmError, match="already holds another run"):
        start_run(whole, config)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BwlmError, match="already holds other files"):
        start_run(tmp_path, config)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run"):
        resume_run(tmp_path)


@pytest.fixture
def stopped(config, tmp_path, monkeypatch):
    """A run stopped after step 5."""
    real = loop_module.Loop.train_step

    def step(self, *args):
        if self.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "train_step", step)
        with pytest.raises(TrainingStopped):
            start_run(tmp_path / "run", config)
    return tmp_path / "run"


def test_resume_refuses_other_voxels(stopped):
    with h5py.File(stopped / "voxels.hf5", "r+") as file:
        file["trained"][0] = 39
    with pytest.raises(CheckpointError, match=r"voxels\.hf5 names other voxels"):
        resume_run(stopped)


@pytest.mark.parametrize("file", ["readout.safetensors", "optimizer.safetensors", "adapter/adapter_model.safetensors"])
def test_a_damaged_checkpoint_is_named(stopped, file):
    path = list_checkpoints(stopped)[-1] / file
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{Path(file).name} is damaged"):
        resume_run(stopped)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{Path(file).name} is missing"):
        resume_run(stopped)


def test_a_damaged_state_is_named(stopped):
    path = list_checkpoints(stopped)[-1] / "state.json"
    path.write_text('{"step": 5')
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        resume_run(stopped)


def test_a_checkpoint_of_another_configuration(stopped):
    path = stopped / "config.json"
    values = json.loads(path.read_text())
    values["model"]["lora_rank"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="lora_rank is 2 and was 4"):
        resume_run(stopped)


def test_a_full_disk_keeps_the_last_good_checkpoint(whole, stopped, monkeypatch):
    good = list_checkpoints(stopped)[-1]
    real = torch.Tensor.clone

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brainwavlm_fast.training.checkpoint.save_tensors", full_disk)
    with pytest.raises(CheckpointError, match=r"No space left.*Earlier checkpoints are untouched"):
        resume_run(stopped)
    monkeypatch.undo()
    assert torch.Tensor.clone is real
    assert list_checkpoints(stopped)[-1] == good
    assert not list((stopped / "checkpoints").glob(".*"))
    resume_run(stopped)
    assert_same_run(whole, stopped)


def test_two_processes_never_share_a_run(stopped):
    import fcntl

    with (stopped / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BwlmError, match="another process"):
            resume_run(stopped)


def test_a_loss_that_is_not_finite_stops_before_the_update(config, tmp_path, monkeypatch):
    real = gradient_module.training_loss

    def spoiled(kind, predicted, measured):
        return real(kind, predicted, measured) * (float("nan") if torch.is_grad_enabled() else 1.0)

    monkeypatch.setattr(gradient_module, "training_loss", spoiled)
    with pytest.raises(BwlmError, match=r"step 1 .*the loss is nan"):
        start_run(tmp_path / "run", config)
    assert [p.name for p in list_checkpoints(tmp_path / "run")] == ["epoch-000"]


def test_a_validation_score_that_is_not_finite_is_no_score(config, tmp_path, monkeypatch):
    real = validation_module.correlation
    monkeypatch.setattr(validation_module, "correlation", lambda *a, **o: real(*a, **o) * float("nan"))
    with pytest.raises(BwlmError, match=r"validation on fromboyhoodtofatherhood \(UTS01\): .* its correlation is nan"):
        start_run(tmp_path / "run", config)
    assert "NaN" not in (tmp_path / "run/log.jsonl").read_text()


@pytest.mark.parametrize("step", [1, 2])
def test_a_loss_read_a_step_late_stops_before_anything_is_saved(config, tmp_path, monkeypatch, step):
    """As on a GPU, where the host reads a loss while the next step runs; ``save_every`` is 2."""
    monkeypatch.setattr(loop_module.StepResult, "late", True)
    real, calls = gradient_module.training_loss, []

    def spoiled(kind, predicted, measured):
        calls.append(1)
        return real(kind, predicted, measured) * (float("nan") if len(calls) >= step else 1.0)

    monkeypatch.setattr(gradient_module, "training_loss", spoiled)
    with pytest.raises(BwlmError, match=rf"step {step} .*the loss is nan"):
        start_run(tmp_path / "run", config)
    assert [p.name for p in list_checkpoints(tmp_path / "run")] == ["epoch-000"]


def test_losses_read_a_step_late_are_the_same_run(whole, config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module.StepResult, "late", True)
    start_run(tmp_path / "run", config)
    assert_same_run(whole, tmp_path / "run")


def test_every_voxel_nan(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "brainwavlm_fast.training.training_data.unusable_voxels", lambda *args, **kwargs: np.ones(40, dtype=bool)
    )
    with pytest.raises(DataError, match="every one of the 40 voxels"):
        start_run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("finetune", ["full", "frozen"])
@pytest.mark.parametrize("loss", ["voxels", "time", "mse"])
def test_other_tunings_and_losses_train(config, tmp_path, finetune, loss):
    changed = replace(
        config,
        model=replace(config.model, finetune=finetune),
        train=replace(config.train, loss=loss, epochs=1, lr_encoder=1e-4),
    )
    start_run(tmp_path / "run", changed)
    before = BrainWavLM.from_pretrained(tmp_path / "run" / "checkpoints" / "epoch-000")
    after = BrainWavLM.from_pretrained(tmp_path / "run" / "checkpoints" / "epoch-001")
    moved = {
        name
        for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert any(name.startswith("readout") for name in moved)
    assert any(name.startswith("encoder") for name in moved) == (finetune == "full")


@pytest.mark.filterwarnings("ignore:--precision bf16:UserWarning")  # where the processor has no instructions for it
def test_bfloat16_trains(config, tmp_path):
    changed = replace(config, train=replace(config.train, precision="bf16", epochs=1))
    summary = start_run(tmp_path / "run", changed)
    assert summary["steps"] == 6
    assert all(np.isfinite(value) for _, value, _ in losses(tmp_path / "run"))


def test_a_run_on_a_target_of_the_users(config, tmp_path, small_tree):
    """Any matrix a story may stand where responses do; killed runs on it continue to the same numbers."""
    from brainwavlm_fast.data import Dataset

    dataset, rng, path = Dataset(small_tree), np.random.default_rng(0), tmp_path / "meaning.h5"
    with h5py.File(path, "w") as file:
        for story in dataset.stories():
            values = rng.standard_normal((dataset.n_trs(story), 6))
            values[:, 5] = 1.0
            file[story] = values
    config = replace(config, train=replace(config.train, target=str(path)))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    summary = start_run(whole, config)
    assert summary["data"]["n_voxels"] == 5
    assert summary["data"]["n_excluded"] == 1
    assert BrainWavLM.from_pretrained(whole / "checkpoints/epoch-002").readout.n_voxels == 5
    start_run(cut, replace(config, train=replace(config.train, epochs=1)))
    settings = json.loads((cut / "config.json").read_text())
    settings["train"]["epochs"] = 2
    (cut / "config.json").write_text(json.dumps(settings))
    (cut / "summary.json").unlink()
    resume_run(cut)
    assert_same_run(whole, cut)
    with h5py.File(path, "a") as file:
        gone = summary["data"]["stories"]["train"][0]
        del file[gone]
    with pytest.raises(DataError, match=f"has no dataset '{gone}'"):
        start_run(tmp_path / "missing", config)
    with pytest.raises(DataError, match="no such file of targets"):
        start_run(tmp_path / "nowhere", replace(config, train=replace(config.train, target="nowhere.h5")))
