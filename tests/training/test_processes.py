"""Two processes: their gradients and runs are one process's, and a dead one ends the job with a way to go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from threadpoolctl import threadpool_limits

from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.distributed import SINGLE_PROCESS
from brainwavlm_fast.files import read_json
from brainwavlm_fast.ridge.cholesky import CholeskySolver
from brainwavlm_fast.ridge.spectral import SpectralSolver
from brainwavlm_fast.stats import significance
from brainwavlm_fast.training import resume_run, start_run
from brainwavlm_fast.training.checkpoint import list_checkpoints
from brainwavlm_fast.training.log import read_log
from tests.helpers.tiny import save_tiny
from tests.helpers.two_ranks import BLOCKS, evaluate, gradients

TESTS = Path(__file__).parent.parent
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--nproc-per-node",
    "2",
    "--master-port",
    "0",
    "--standalone",
]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS / "training")))}


def losses(run):
    return np.array([[r["loss"], r["grad_norm"]] for r in read_log(run / "log.jsonl") if r["kind"] == "step"])


@pytest.fixture(scope="module")
def plain(two_subjects, tiny_wavlm):
    """Two subjects, two epochs, no randomness."""
    model, train = preset("paper")
    model = replace(
        model, model=str(tiny_wavlm), layer=2, stride=1.0, bottleneck=6, regularizers=False, lora_dropout=0.0
    )
    train = replace(
        train, subject="UTS01", more_subjects=("UTS02",), epochs=2, save_every=2,
        validation=("fromboyhoodtofatherhood",), lr_encoder=1e-2,
    )  # fmt: skip
    return RunConfig(str(two_subjects), "paper", model, train)


def dropping(plain, folder):
    """Layers dropped and frames masked at random, no dropout."""
    quiet = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj")}
    wavlm = save_tiny(folder / "dropping", layerdrop=0.5, mask_time_prob=0.4, **quiet)
    return replace(plain, model=replace(plain.model, model=str(wavlm), layer=4, regularizers=True))


@pytest.fixture(scope="module")
def job(plain, tmp_path_factory):
    """What two processes left behind, and beside it the runs of one."""
    folder = tmp_path_factory.mktemp("job")
    plain.to_json(folder / "plain.json")
    dropping(plain, folder).to_json(folder / "dropping.json")
    replace(plain, model=replace(plain.model, regularizers=True)).to_json(folder / "regularised.json")
    few = replace(plain, model=replace(plain.model, stride=4.0, lanczos_lobes=1))
    replace(few, train=replace(few.train, block_size=2, block_context=False)).to_json(folder / "few-windows.json")
    replace(plain, train=replace(plain.train, parallelism="blocks", carry_context=True)).to_json(
        folder / "carried-blocks.json"
    )
    start_run(folder / "one", plain)
    start_run(folder / "half", replace(plain, train=replace(plain.train, epochs=1)))
    (folder / "half" / "summary.json").unlink()
    plain.to_json(folder / "half" / "config.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        job["MASTER_PORT"] = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.helpers.two_ranks", str(folder)]
    ranks = [
        subprocess.Popen(
            command,
            cwd=TESTS.parent,
            env=environment() | job | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    return folder


@pytest.mark.parametrize("name", list(BLOCKS))
def test_two_processes_have_one_processs_loss_and_gradients(job, plain, name):
    """In float64, on both ranks: windows shared, blocks apart, and a step with less blocks than ranks."""
    found = [load_file(job / f"{name}-{rank}.st") for rank in (0, 1)]
    parts = [gradients(plain, [block], SINGLE_PROCESS) for block in BLOCKS[name]]
    expected = {
        key: sum(part.get(key, 0.0) for part in parts) / len(parts) for key in set().union(*(part for part in parts))
    }
    assert float(found[0]["values"][2]) == 1  # rank 1 asked to stop, and both know
    norm = torch.stack([g.norm() for key, g in expected.items() if key != "values"]).norm()
    for rank in (0, 1):
        own = found[rank]
        assert own.keys() == expected.keys()
        assert abs(own["values"][0] - expected["values"][0]) <= 1e-12
        assert abs(own["values"][1] - norm) <= 1e-12 * norm
        for key in expected.keys() - {"values"}:
            scale = expected[key].abs().max()
            assert scale > 0, key
            assert (own[key] - expected[key]).abs().max() <= 1e-12 * scale, key


def test_two_processes_share_one_processs_subnetwork(job):
    """Layer drop and SpecAugment's masks do not depend on how many processes there are."""
    config = RunConfig.from_json(job / "dropping.json")
    expected = gradients(config, BLOCKS["start"], SINGLE_PROCESS)
    quiet = gradients(replace(config, model=replace(config.model, regularizers=False)), BLOCKS["start"], SINGLE_PROCESS)
    assert expected["values"][0] != quiet["values"][0]
    for rank in (0, 1):
        found = load_file(job / f"dropping-{rank}.st")
        for key in expected.keys() - {"values"}:
            difference = found.get(key, torch.zeros(())) - expected[key]
            assert difference.abs().max() <= 1e-12 * expected[key].abs().max(), key


def test_two_processes_train_one_processs_run(job):
    """In float32 windows end up in other batches: round-off, no more."""
    np.testing.assert_allclose(losses(job / "windows"), losses(job / "one"), rtol=1e-4, atol=1e-5)
    one, two = (json.loads((job / name / "summary.json").read_text()) for name in ("one", "windows"))
    assert (one["processes"], two["processes"], two["steps"]) == (1, 2, 12)
    for epoch, scores in one["readout_validation"].items():
        assert two["readout_validation"][epoch] == pytest.approx(scores, abs=1e-4)
    a, b = (load_file(job / name / "checkpoints/epoch-002/readout.safetensors") for name in ("one", "windows"))
    assert all(torch.allclose(a[key], b[key], atol=1e-4) for key in a)


def test_another_number_of_processes_goes_on(job):
    np.testing.assert_allclose(losses(job / "half"), losses(job / "one"), rtol=1e-4, atol=1e-5)
    notes = [r["processes"] for r in read_log(job / "half" / "log.jsonl") if r["kind"] == "note" and "processes" in r]
    assert notes == [1, 2]


def test_blocks_make_larger_batches(job):
    summary = json.loads((job / "by-blocks" / "summary.json").read_text())
    assert (summary["steps"], summary["blocks_per_step"]) == (6, 2)
    first = np.mean(losses(job / "one")[:1], axis=0)
    assert losses(job / "by-blocks")[0][0] != first[0]


def test_random_regularizers_differ_between_ranks_and_still_train(job):
    values = losses(job / "regularised")
    assert len(values) == 12
    assert np.isfinite(values).all()


def test_voxels_are_joined_from_their_ranks(job):
    for rank in (0, 1):
        joined = np.load(job / f"joined-{rank}.npy")
        np.testing.assert_array_equal(joined, np.tile([0, 1, 2, 3, 14, 15, 16], (2, 1)))


def test_ridge_and_permutations_over_two_processes_are_one_processs(job, monkeypatch):
    """The same tiles of voxels, so equal to the last bit."""
    monkeypatch.setattr(SpectralSolver, "tile_width", SpectralSolver.tile_width)  # evaluate() changes all three
    monkeypatch.setattr(CholeskySolver, "pays", CholeskySolver.pays)
    monkeypatch.setattr(significance, "TILE", 16)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun gives each process
    try:
        with threadpool_limits(1):
            evaluate(job, "alone", SINGLE_PROCESS)
    finally:
        torch.set_num_threads(before)
    one, two = (read_json(job / "one" / name / "summary.json") for name in ("alone", "two"))
    assert one["encoding"] == two["encoding"]
    assert one["curve"] == two["curve"]
    with h5py.File(job / "one/alone/voxels.hf5") as a, h5py.File(job / "one/two/voxels.hf5") as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            np.testing.assert_array_equal(a[name][:], b[name][:], err_msg=name)
    tested = [np.load(job / f"{name}.npy") for name in ("alone-tested-0", "two-tested-0", "two-tested-1")]
    assert np.isnan(tested[0][:, 5]).all()
    assert np.isfinite(tested[0]).sum() == 3 * 49
    for other in tested[1:]:
        np.testing.assert_array_equal(tested[0], other)


def test_too_many_processes_and_contradictions_are_refused_on_every_rank(job):
    for rank in (0, 1):
        few = (job / f"few-windows-{rank}.txt").read_text()
        assert "2 processes" in few
        assert "windows to share" in few
        assert "--parallelism windows only" in (job / f"carried-blocks-{rank}.txt").read_text()
        assert not (job / "few-windows").exists()


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_one_process_goes_on(job, plain, tmp_path):
    run = tmp_path / "run"
    program = (
        "import os, signal, sys\n"
        "from brainwavlm_fast.cli.main import app\n"
        "from brainwavlm_fast.training import loop\n"
        "real = loop.Loop.train_step\n"
        "def step(self, *args):\n"
        "    if self.position.step == 9 and os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(self, *args)\n"
        "loop.Loop.train_step = step\n"
        "app()\n"
    )
    (tmp_path / "program.py").write_text(program)
    options = {
        "--data": plain.data, "--subject": "S01,S02", "--model": plain.model.model, "--layer": 2, "--stride": 1.0,
        "--bottleneck": 6, "--epochs": 2, "--save-every": 2, "--validation": "fromboyhoodtofatherhood",
        "--lr": 1e-2, "--lora-dropout": 0, "--out": run,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    command = [*TORCHRUN, str(tmp_path / "program.py"), "train", *words, "--no-regularizers"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    # torchrun ends the other rank as soon as it sees the death, so that rank may not come to say anything
    for said in (line for line in done.stderr.splitlines() if line.startswith("bwlm: ")):
        assert said.startswith("bwlm: another process of this job has ended")
        assert f"bwlm train --resume {run}" in said
    assert 'Traceback (most recent call last):\n  File "' not in done.stderr.split("torch/distributed")[0]
    assert f"exitcode  : {-signal.SIGKILL}" in done.stderr
    assert list_checkpoints(run)[-1].name == "step-0000008"
    assert resume_run(run)["processes"] == 1
    np.testing.assert_allclose(losses(run), losses(job / "one"), rtol=1e-4, atol=1e-5)
