"""Every figure of saved results: what is drawn, what is skipped and why, and that nothing is overwritten."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.errors import BwlmError
from brainwavlm_fast.figures import catalogue
from brainwavlm_fast.figures.catalogue import FIGURES, make_figures
from tests.helpers.saved_runs import make_probes, make_saved_run, make_transfer


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(catalogue, "WIDTH", 300)


@pytest.fixture
def run(tmp_path, planted_tree):
    """An evaluated and probed run on the planted brain's anatomy."""
    root, anatomy = planted_tree
    folder = make_saved_run(tmp_path / "run", data=root, n_voxels=800, ac=anatomy.ac)
    make_probes(folder / "probes", {"UTS01-nonac": 0.1})
    return folder


def bwlm(*arguments):
    return CliRunner().invoke(app, ["figures", *map(str, arguments)])


def test_everything_that_is_there_is_drawn(run, tmp_path):
    transfer = make_transfer(tmp_path / "transfer")
    result = bwlm(run, transfer, *(x for kind in FIGURES for x in ("--figure", kind)), "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["skipped"] == {}
    assert {figure["kind"] for figure in summary["figures"].values()} == set(FIGURES)
    folder = run / "figures"
    listed = {name for figure in summary["figures"].values() for name in figure["files"]}
    assert {path.name for path in folder.iterdir()} == listed | {"summary.json"}
    for name in listed:
        assert (folder / name).read_bytes()[:4] in (b"\x89PNG", b"%PDF")
    assert all(figure["caption"] and figure["alt"] for figure in summary["figures"].values())
    assert "pre-trained r above 0.15" in summary["figures"]["UTS01-nonac_flatmap-gain"]["caption"]
    again = bwlm(run, "--figure", "epochs").stdout
    assert re.search(r"\bepochs\W+epochs\b", again), again  # a row of the table: name and kind
    assert "skipped" not in again


def test_the_same_is_kept_and_other_results_are_never_overwritten(run):
    kinds = ["epochs", "flatmap"]
    first, folder = make_figures([run], kinds=kinds)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert len(before) == 4
    again, _ = make_figures([run], kinds=kinds)
    assert first == again
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")} == before
    added, _ = make_figures([run], kinds=["scatter"])  # another figure joins them
    assert set(added["figures"]) == {*first["figures"], "UTS01-nonac_scatter"}
    with pytest.raises(BwlmError, match="other results or options") as refused:
        make_figures([run], kinds=kinds, threshold=0.3)
    assert "--out figures-2" in str(refused.value)
    path = run / "evaluation/summary.json"
    path.write_text(path.read_text().replace('"best_epoch": 4', '"best_epoch": 2'))
    with pytest.raises(BwlmError, match="nothing was overwritten"):
        make_figures([run], kinds=["epochs"])
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png") if path.name in before} == before


def test_other_results_folders_are_not_written_into(run):
    before = (run / "summary.json").read_bytes()
    result = bwlm(run, "--out", run, "--figure", "scatter")
    assert result.exit_code == 2
    assert "is of other results; nothing was written" in result.stderr
    assert (run / "summary.json").read_bytes() == before
    assert not list(run.glob("*.png"))


def test_a_call_that_was_stopped_is_gone_on_with(run, monkeypatch):
    def stopped(figure, stem):
        stem.with_suffix(".png").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            make_figures([run], kinds=["scatter"])
    summary, folder = make_figures([run], kinds=["scatter"])
    assert summary["drawn"] == ["UTS01-nonac_scatter"]
    assert (folder / "UTS01-nonac_scatter.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_missing_names_the_command_that_makes_it(tmp_path):
    folder = make_saved_run(tmp_path / "new", evaluated=False)
    result = bwlm(folder)
    assert result.exit_code == 0
    assert f"epochs was skipped: no run has been evaluated; run `bwlm evaluate {folder}` first." in result.stdout
    assert "run `bwlm probe RUN` first" in result.stdout
    assert f"run `bwlm transfer {folder}" in result.stdout
    skipped = json.loads((folder / "figures/summary.json").read_text())["skipped"]
    assert set(skipped) == set(FIGURES) - {"inflated"}


def test_a_run_whose_data_set_is_elsewhere_has_all_but_maps(tmp_path):
    folder = make_saved_run(tmp_path / "run", data=tmp_path / "gone")
    summary, _ = make_figures([folder], kinds=["scatter", "flatmap"])
    assert set(summary["figures"]) == {"UTS01-nonac_scatter"}
    assert "no such data folder" in summary["skipped"]["flatmap"]


def test_without_flat_surfaces_the_caption_says_what_is_shown_instead(run, tmp_path, planted_tree):
    tree = shutil.copytree(planted_tree[0], tmp_path / "tree")
    for path in (tree / "derivative/pycortex-db/UTS01/surfaces").glob("flat_*"):
        path.unlink()
    summary, _ = make_figures([run], kinds=["flatmap"], data=tree)
    figure = summary["figures"]["UTS01-nonac_flatmap-gain"]
    assert "Inflated views are drawn in its place" in figure["caption"]
    assert figure["alt"].startswith("Inflated views")


def test_two_runs_of_a_subject_are_compared(run, tmp_path, planted_tree):
    other = make_saved_run(tmp_path / "ac", roi="ac", data=planted_tree[0], n_voxels=800, seed=3, ac=planted_tree[1].ac)
    summary, folder = make_figures([run, other], kinds=["flatmap", "scatter"], out=tmp_path / "figures")
    assert folder == tmp_path / "figures"
    assert {"UTS01-ac_flatmap-minus-UTS01-nonac", "UTS01-ac_scatter-UTS01-nonac"} <= set(summary["figures"])
    assert len(summary["figures"]) == 2 * 3 + 1 + 2 + 1


def test_a_map_of_other_voxels_is_not_drawn(tmp_path, planted_tree):
    folder = make_saved_run(tmp_path / "run", data=planted_tree[0], n_voxels=60)
    summary, _ = make_figures([folder], kinds=["flatmap", "scatter"])
    assert "not of the same subject or data version" in summary["skipped"]["flatmap"]
    assert set(summary["figures"]) == {"UTS01-nonac_scatter"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--figure", "flat"], "unknown figure 'flat': did you mean flatmap"), (["nowhere"], "nowhere is neither a run")],
)
def test_bad_use(run, arguments, message):
    result = bwlm(run, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("bwlm: ")
    assert message in result.stderr


def test_another_evaluation_is_simply_missing(run):
    result = bwlm(run, "--evaluation", "other", "--figure", "scatter")
    assert result.exit_code == 0
    assert "scatter was skipped: no run has been evaluated" in result.stdout


def test_damaged_results_are_named(run):
    (run / "evaluation/voxels.hf5").write_bytes(b"no")
    result = bwlm(run, "--figure", "scatter")
    assert result.exit_code == 2
    assert "voxels.hf5 cannot be read" in result.stderr
    (run / "evaluation/summary.json").write_text(json.dumps({"other": 1}))
    result = bwlm(run, "--figure", "scatter")
    assert result.exit_code == 2
    assert "no 'encoding'" in result.stderr


def test_runs_of_the_same_kind_are_told_apart_by_their_folders(tmp_path):
    folders = [make_saved_run(tmp_path / name, seed=k) for k, name in enumerate(("one", "two"))]
    summary, _ = make_figures(folders, kinds=["scatter", "performance"], out=tmp_path / "out")
    assert {"one_scatter", "two_scatter", "two_scatter-one"} == set(summary["figures"])
    assert "same subject and kind of model" in summary["skipped"]["performance"]
    assert np.all([(tmp_path / "out" / f"{name}.pdf").is_file() for name in summary["figures"]])


def test_a_run_on_several_subjects_is_drawn_for_each(tmp_path):
    folder = make_saved_run(tmp_path / "run", roi="all", more_subjects=("UTS02",))
    summary, out = make_figures([folder], kinds=["scatter", "performance"])
    assert out == folder / "figures"
    names = {"UTS01+UTS02-all_UTS01_scatter", "UTS01+UTS02-all_UTS02_scatter", "performance"}
    assert set(summary["figures"]) == names
    assert "tuned on all of UTS01 and UTS02" in summary["figures"]["performance"]["alt"]
    assert "UTS01, UTS02" in summary["figures"]["performance"]["caption"]
