"""What should be known before the numbers are believed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from brainwavlm_fast.anatomy import available_sets
from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import RunConfig
from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.report.findings import findings
from brainwavlm_fast.results.saved import open_saved
from tests.helpers.saved_runs import make_probes, make_saved_run


def changed(folder, file, change):
    path = folder / file
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def said(*folders):
    return {finding.text: finding.level for finding in findings(open_saved(folders))}


def level(found, words):
    (one,) = [level for text, level in found.items() if words in text]
    return one


def test_a_usual_run(tmp_path):
    found = said(make_saved_run(tmp_path / "run"))
    assert level(found, "1 voxels with NaN or a constant in some story are in no mean") == "warning"
    assert level(found, "did not train") == "note"
    assert level(found, "30 of 50 voxels above chance (pre-trained) chose the smallest alpha, 10") == "warning"
    assert level(found, "The best epoch, 4, is the last") == "note"
    assert level(found, "3 of 5 epochs were evaluated (0, 2, 4)") == "note"
    assert level(found, "selected on the test data") == "note"
    assert level(found, "One subject") == "note"
    assert not [text for text in found if "tuned) chose" in text or "simulated" in text or "preset" in text]
    assert list(found.values()) == sorted(found.values(), reverse=True)  # warnings first


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (
            lambda s: s["settings"]["stories"].update(validation=[]),
            "no validation story: epoch 4 is the last",
            "warning",
        ),
        (lambda s: s.update(best_epoch=0), "nothing was gained", "warning"),
        (lambda s: s.update(significance=None), "No significance was tested", "note"),
        (lambda s: s.update(noise_ceiling=None), "No noise ceiling", "note"),
        (
            lambda s: s["noise_ceiling"].update(fits=False, data_is="neither mean"),
            "responses are neither mean: the noise ceiling is that of the plain mean",
            "warning",
        ),
        (lambda s: s["encoding"].pop("ac"), "means over ac and nonac are missing", "note"),
        (lambda s: s["encoding"]["all"].update(teacher=0.3), "The brain is simulated", "note"),
        (lambda s: s["data"].update(version="unknown"), "version is not known", "note"),
        (
            lambda s: s["alphas"]["tuned"].update(largest=40),
            "40 of 50 voxels above chance (tuned) chose the largest alpha",
            "warning",
        ),
        (  # an earlier version, which counted every voxel
            lambda s: s.update(
                alphas={
                    "grid": [1, 2],
                    "pretrained": {"smallest": 0, "largest": 40},
                    "tuned": {"smallest": 0, "largest": 0},
                }
            ),
            "40 of 59 voxels (pre-trained) chose the largest alpha",
            "warning",
        ),
    ],
)
def test_an_evaluation_with_a_flaw(tmp_path, change, words, expected):
    folder = make_saved_run(tmp_path / "run")
    assert words not in " ".join(said(folder))
    changed(folder, "evaluation/summary.json", change)
    assert level(said(folder), words) == expected


def test_what_it_advises_for_auditory_cortex_can_be_done(tmp_path, planted_tree):
    tree = shutil.copytree(planted_tree[0], tmp_path / "tree")
    annotation = tree / "derivative/freesurfer_subjdir/UTS01/label/lh.aparc.a2009s.annot"
    annotation.rename(tmp_path / "annotation")
    annotation.symlink_to("../.git/annex/objects/absent")  # as git-annex leaves what was not fetched
    folder = make_saved_run(tmp_path / "run", data=tree)
    changed(folder, "evaluation/summary.json", lambda s: s["encoding"].pop("ac"))
    (text,) = [text for text in said(folder) if "auditory cortex" in text]
    check, again = re.findall("`bwlm (.*?)`", text)
    advised = CliRunner().invoke(app, shlex.split(check)).stdout
    (get,) = [line.split("datalad get ")[1] for line in advised.splitlines() if "freesurfer_subjdir" in line]
    assert any(annotation.is_relative_to(tree / path) for path in get.split())
    annotation.unlink()
    (tmp_path / "annotation").rename(annotation)  # what datalad would have done
    assert "ac" in available_sets(find_dataset(tree), "UTS01")[0]
    assert shlex.split(again) == ["evaluate", str(folder), "--out", "evaluation-2"]


def test_a_run_that_is_not_finished_or_departs_from_the_method(tmp_path):
    folder = make_saved_run(tmp_path / "run", evaluated=False)
    assert level(said(folder), f"bwlm evaluate {folder}") == "warning"
    (folder / "summary.json").unlink()
    assert level(said(folder), f"bwlm train --resume {folder}") == "warning"
    config = RunConfig.from_json(folder / "config.json")
    replace(config, preset="authors-release").to_json(folder / "config.json")
    assert level(said(folder), "authors-release") == "warning"


def test_runs_that_differ_in_data_and_versions(tmp_path):
    folders = [make_saved_run(tmp_path / s, subject=s) for s in ("UTS01", "UTS02")]
    changed(folders[1], "evaluation/summary.json", lambda s: s["data"].update(version="3.0.0"))
    changed(folders[1], "evaluation/summary.json", lambda s: s["provenance"]["versions"].update(torch="0.1"))
    found = said(*folders)
    assert level(found, "different versions of the data: 3.0.0, 3.1.0") == "warning"
    assert level(found, "torch (0.1, ") == "note"
    assert not [text for text in found if text.startswith("One subject")]


def test_probes_at_the_end_of_their_grid(tmp_path):
    folder = make_probes(tmp_path / "probes", {"UTS01-all": 0.1})
    assert not [text for text in said(folder) if "probes that predict" in text]
    changed(folder, "summary.json", lambda s: s["at_the_end_of_the_grid"]["UTS01-all"].update(smallest=60))
    assert level(said(folder), "60 of 70 probes that predict something chose the smallest alpha") == "warning"
    words = {"words": {"embeddings": "x", "n_words": 100, "n_out_of_vocabulary": 7}}
    changed(folder, "summary.json", lambda s: s["settings"].update(targets=words))
    assert level(said(folder), "7 of 100 words have no embedding") == "note"
