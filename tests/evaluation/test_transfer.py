"""Transfer between subjects: each cell equals an evaluation of its own; refusals; the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.data import Dataset, load_audio, make_split
from brainwavlm_fast.errors import BwlmError, CheckpointError, ConfigError
from brainwavlm_fast.evaluation.encoding import EncodingSettings, RidgeSettings, encode
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.evaluation.responses import DatasetResponses
from brainwavlm_fast.evaluation.transfer import transfer
from brainwavlm_fast.model import BrainWavLM
from tests.helpers.run_folder import STORIES, make_run

RIDGE = RidgeSettings(chunk_length=4)


@pytest.fixture(scope="module")
def two_subjects(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Path:
    """The tree with a second subject of other responses and a story fewer."""
    root = shutil.copytree(tree, tmp_path_factory.mktemp("two") / "tree")
    folder = root / "derivative/preprocessed_data/UTS03"
    folder.mkdir()
    shutil.copytree(root / "derivative/pycortex-db/UTS02", root / "derivative/pycortex-db/UTS03")
    (root / "derivative/pycortex-db/UTS03/transforms/UTS02_auto").rename(
        root / "derivative/pycortex-db/UTS03/transforms/UTS03_auto"
    )
    generator = np.random.default_rng(5)
    for story, n_trs in STORIES.items():
        if story != "bicycle":
            with h5py.File(folder / f"{story}.hf5", "w") as file:
                file["data"] = generator.standard_normal((n_trs, 30))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, two_subjects: Path, tiny_wavlm: Path) -> list[Path]:
    """Two evaluated runs; the best epoch of the first is set to 1, of the second to 0."""
    made = []
    for name, best in (("first", 1), ("second", 0)):
        run = make_run(tmp_path_factory.mktemp("runs") / name, two_subjects, tiny_wavlm, n_epochs=1)
        evaluate_run(run, options=EvaluationOptions(ridge=RIDGE))
        summary = json.loads((run / "evaluation/summary.json").read_text())
        (run / "evaluation/summary.json").write_text(json.dumps({**summary, "best_epoch": best}))
        made.append(run)
    return made


def by_hand(run: Path, tree: Path, subject: str, epoch: int) -> np.ndarray:
    dataset = Dataset(tree)
    model = BrainWavLM.from_pretrained(run / "checkpoints" / f"epoch-{epoch:03d}")
    stories = dataset.stories(subject)
    features = {s: model.story_features(load_audio(dataset.audio_path(s)), dataset.n_trs(s)) for s in stories}
    settings = EncodingSettings(make_split(stories), ridge=RIDGE)
    return encode(features, DatasetResponses(dataset, subject), settings).mean_test


def test_every_cell_equals_an_evaluation_of_its_own(runs: list[Path], two_subjects: Path, tmp_path: Path) -> None:
    summary = transfer(runs, tmp_path / "out", subjects=["S02", "uts03"], ridge=RIDGE)
    assert summary["rows"] == ["first", "second"]
    assert summary["columns"] == ["UTS02", "UTS03"]
    matrix = summary["matrices"]["all"]
    for column, subject in enumerate(summary["columns"]):
        before, after = (np.nanmean(by_hand(runs[0], two_subjects, subject, epoch)) for epoch in (0, 1))
        assert matrix["pretrained"][column] == pytest.approx(before, abs=1e-6)
        assert matrix["tuned"][0][column] == pytest.approx(after, abs=1e-6)
        assert matrix["tuned"][1][column] == matrix["pretrained"][column]
        expected = None if before <= 0 else pytest.approx(100 * (after / before - 1), rel=1e-3, abs=1e-3)
        assert matrix["percent"][0][column] == expected
        low, high = matrix["intervals"]["tuned"][0][column]
        assert low < matrix["tuned"][0][column] < high
    assert matrix["intervals"]["percent"][1] == [
        None if before <= 0 else [0, 0] for before in matrix["pretrained"]
    ]  # the second run's best epoch is 0
    assert summary["matrices"]["ac"]["pooled"] == {"first": None, "second": None}  # one subject has such a set
    assert summary["matrices"]["ac"]["pretrained"][1] is None
    assert summary["matrices"]["ac"]["percent"][0][1] is None
    with h5py.File(tmp_path / "out/voxels.hf5") as file:
        assert np.nanmean(file["UTS03/first"][:]) == pytest.approx(matrix["tuned"][0][1])
        assert np.isnan(file["UTS02/first"][:]).sum() == 2
    assert not (tmp_path / "out/features").exists()
    again = transfer(runs, tmp_path / "out", subjects=["S02", "S03"], ridge=RIDGE)
    assert again == summary
    with pytest.raises(BwlmError, match="other settings"):
        transfer(runs, tmp_path / "out", subjects=["S02"], ridge=RIDGE)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    arguments = ["transfer", str(runs[0]), "--subjects", "S03", "--chunk", "4", "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "tuned on UTS02-nonac" in shown.stdout
    assert "UTS03" in shown.stdout
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(printed.stdout) == json.loads((tmp_path / "out/summary.json").read_text())
    assert "Example" in CliRunner().invoke(app, ["transfer", "--help"]).output
    bad = CliRunner().invoke(app, ["transfer", str(tmp_path), "--subjects", "S03"])
    assert bad.exit_code == 2
    assert "is not a run" in bad.stderr


def test_runs_that_cannot_be_compared(runs: list[Path], two_subjects: Path, tiny_wavlm: Path, tmp_path: Path) -> None:
    fresh = make_run(tmp_path / "fresh", two_subjects, tiny_wavlm, n_epochs=1)
    with pytest.raises(CheckpointError, match="has not been evaluated"):
        transfer([fresh], tmp_path / "out", subjects=["S02"], ridge=RIDGE)
    other = make_run(tmp_path / "other", two_subjects, tiny_wavlm, n_epochs=1, token="last")
    with pytest.raises(ConfigError, match="other features"):
        transfer([runs[0], other], tmp_path / "out", subjects=["S02"], ridge=RIDGE)
    config = json.loads((fresh / "config.json").read_text())
    config["train"]["validation"] = ["adventure"]
    (fresh / "config.json").write_text(json.dumps(config))
    shutil.copytree(runs[0] / "evaluation", fresh / "evaluation")
    with pytest.raises(ConfigError, match="hold out different stories"):
        transfer([runs[0], fresh], tmp_path / "out", subjects=["S02"], ridge=RIDGE)
    with pytest.raises(BwlmError, match="unknown subject"):
        transfer(runs, tmp_path / "out", subjects=["S77"], ridge=RIDGE)
    assert not (tmp_path / "out").exists()
