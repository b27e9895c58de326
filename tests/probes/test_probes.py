"""Probes: targets at TR rate, every layer's score, runs against pre-trained, the cache, the commands, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.config import Places
from brainwavlm_fast.data import Dataset, StorySplit, load_audio
from brainwavlm_fast.errors import BwlmError, ConfigError, DataError
from brainwavlm_fast.features.sources import run_source
from brainwavlm_fast.features.store import FeatureStore
from brainwavlm_fast.model import BrainWavLM, Encoder
from brainwavlm_fast.probes.fit import ProbeSettings, probe_layers
from brainwavlm_fast.probes.run import ProbeOptions, probe_runs
from brainwavlm_fast.probes.targets import Target, file_target, mel_target, word_target
from tests.helpers.run_folder import STORIES, make_run
from tests.helpers.tiny import save_tiny_gpt

SETTINGS = ProbeSettings(chunk_length=4)
TRAIN, TEST = ("adventure", "bicycle"), ("wheretheressmoke",)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def textgrid(path: Path, said: list[tuple[float, float, str]]) -> None:
    tier = "".join(f'{a}\n{b}\n"{word}"\n' for a, b, word in said)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'"ooTextFile"\n"TextGrid"\n0\n{said[-1][1]}\n<exists>\n1\n"IntervalTier"\n"word"\n0\n'
        f"{said[-1][1]}\n{len(said)}\n{tier}"
    )


@pytest.fixture
def spoken(tree: Path, tmp_path: Path) -> Path:
    """The tree with TextGrids, and vectors for the words but one."""
    root = tmp_path / "spoken"
    shutil.copytree(tree, root, symlinks=True)
    rng = np.random.default_rng(0)
    for story, n_trs in STORIES.items():
        times = np.arange(0, 11 + 2 * n_trs, 0.5)
        said = [(float(t), float(t) + 0.4, f"w{rng.integers(6)}") for t in times]
        textgrid(root / "derivative/TextGrids" / f"{story}.TextGrid", [*said[:3], (1.5, 1.9, "xyzzy"), *said[4:]])
    vectors = rng.standard_normal((6, 3))
    (root / "glove.txt").write_text("".join(f"w{k} {' '.join(map(str, v))}\n" for k, v in enumerate(vectors)))
    return root


def test_mel_follows_the_sound(tree: Path) -> None:
    target = mel_target(Dataset(tree), ["bicycle"])
    assert target.stories["bicycle"].shape == (18, 40)
    assert np.isfinite(target.stories["bicycle"]).all()


def test_words_are_summed_where_they_are_said(spoken: Path) -> None:
    target = word_target(Dataset(spoken), ["bicycle", "adventure"], spoken / "glove.txt")
    assert target.stories["bicycle"].shape == (18, 3)
    assert target.notes["n_out_of_vocabulary"] == 2
    assert target.notes["most_frequent_out_of_vocabulary"] == ["xyzzy"]
    textgrid(spoken / "derivative/TextGrids/bicycle.TextGrid", [(20.8, 21.2, "w1")])  # the middle of TR 5: 11 + 2 * 5
    alone = word_target(Dataset(spoken), ["bicycle"], spoken / "glove.txt").stories["bicycle"]
    vector = np.array([float(x) for x in (spoken / "glove.txt").read_text().splitlines()[1].split()[1:]])
    np.testing.assert_allclose(alone[5], vector, rtol=1e-6)
    np.testing.assert_allclose(alone[[0, 1, 2, 3, 4, 6, 7]], 0, atol=1e-12)  # zeros of the sinc, and beyond its lobes


def test_a_story_without_a_known_word_is_refused(spoken: Path) -> None:
    textgrid(spoken / "derivative/TextGrids/bicycle.TextGrid", [(0.0, 1.0, "xyzzy")])
    with pytest.raises(DataError, match="not one of the 1 words of story 'bicycle'"):
        word_target(Dataset(spoken), ["bicycle"], spoken / "glove.txt")


def test_what_a_layer_holds_linearly_is_found_and_noise_is_not(run: Path, tree: Path) -> None:
    """Targets made of one layer's own features, one TR later, and of nothing."""
    dataset, rng = Dataset(tree), np.random.default_rng(0)
    features = FeatureStore([run_source(run)], dataset, layers=[1, 2])
    split = StorySplit(("adventure", "bicycle", "fromboyhoodtofatherhood"), (), TEST)
    stories = [*split.train, *split.test]
    features.compute(stories)
    mixing, planted, noise = rng.standard_normal((32, 2)), {}, {}
    for story in stories:
        rows = features.load(story, layer=2)[features.context :]
        rows = (rows - rows.mean(0)) / rows.std(0)
        planted[story] = np.vstack([rows[1:] @ mixing, np.zeros((1, 2))])  # what the next TR's window holds
        noise[story] = rng.standard_normal((len(rows), 2))
    targets = [Target("planted", "planted", planted), Target("noise", "noise", noise)]
    scores = probe_layers(features, targets, split, ProbeSettings(chunk_length=4, alphas=(0.1, 1.0, 10.0)))
    assert scores.correlation["planted"].shape == (2, 2)
    assert scores.mean("planted")[1] > 0.7  # 45 TRs train 96 weights
    assert scores.mean("planted")[1] > scores.mean("planted")[0]
    assert max(map(abs, scores.mean("noise"))) < 0.45  # 44 TRs
    assert 2 <= scores.at_the_end["n_predicted"] <= 5  # not the noise, which takes any alpha
    assert scores.at_the_end["smallest"] + scores.at_the_end["largest"] <= scores.at_the_end["n_predicted"]


def test_runs_are_compared_with_the_model_they_started_from(run: Path, spoken: Path, tmp_path: Path) -> None:
    summary, folder = probe_runs(
        [run],
        places=Places(spoken),
        options=ProbeOptions(embeddings=spoken / "glove.txt", settings=SETTINGS),
        out=tmp_path / "out",
    )
    assert summary["layers"] == [0, 1, 2, 3, 4]
    for name in ("mel", "words"):
        target = summary["targets"][name]
        assert target["improvement"][0] == 0  # nothing before the first adapter changes
        assert any(abs(x) > 1e-3 for x in target["improvement"][1:])
        assert target["sem"] is None
    with h5py.File(folder / "probes.hf5") as file:
        assert file["pre-trained/mel"].shape == (5, 40)
        means = np.nanmean(file["UTS02-nonac/words"][:], axis=1)
        np.testing.assert_allclose(means, summary["targets"]["words"]["tuned"]["UTS02-nonac"])
    assert json.loads((folder / "summary.json").read_text()) == summary


def test_epoch_0_changes_nothing_and_two_runs_have_a_spread(
    run: Path, spoken: Path, tmp_path: Path, tiny_wavlm: Path
) -> None:
    start, _ = probe_runs(
        [run], places=Places(spoken), options=ProbeOptions([1, 2], 0, settings=SETTINGS), out=tmp_path / "a"
    )
    np.testing.assert_allclose(start["targets"]["mel"]["improvement"], 0, atol=1e-6)
    other = make_run(tmp_path / "other", spoken, tiny_wavlm)
    config = json.loads((other / "config.json").read_text())
    config["train"]["roi"] = "ac"
    (other / "config.json").write_text(json.dumps(config))
    both, _ = probe_runs(
        [run, other], places=Places(spoken), options=ProbeOptions([2], settings=SETTINGS), out=tmp_path / "b"
    )
    assert both["targets"]["mel"]["sem"] == [0.0]  # the same adapter twice
    assert list(both["targets"]["mel"]["tuned"]) == ["UTS02-nonac", "UTS02-ac"]


def test_features_are_computed_once_and_layers_added(run: Path, tree: Path, tmp_path: Path, monkeypatch) -> None:
    dataset, source = Dataset(tree), run_source(run)
    FeatureStore([source], dataset, tmp_path / "kept", layers=[1]).compute(["bicycle"])
    more = FeatureStore([source], dataset, tmp_path / "kept", layers=[1, 3])
    one = more.load("bicycle", layer=1)
    asked = []
    plain = Encoder.layer_features
    monkeypatch.setattr(Encoder, "layer_features", lambda s, f, k: asked.append(list(k)) or plain(s, f, k))
    more.compute(["bicycle"])
    more.compute(["bicycle"])
    assert asked
    assert all(layers == [3] for layers in asked)
    assert np.array_equal(more.load("bicycle", layer=1), one)
    (path,) = (tmp_path / "kept").rglob("*.hf5")
    path.write_bytes(b"cut off")
    more.compute(["bicycle"])
    np.testing.assert_allclose(more.load("bicycle", layer=1), one, atol=1e-5)


@pytest.mark.parametrize("finetune", ["lora", "full", "frozen"])
def test_the_tuned_layer_has_the_runs_own_features(tree: Path, tmp_path: Path, tiny_wavlm: Path, finetune: str) -> None:
    run = make_run(tmp_path / "run", tree, tiny_wavlm, n_epochs=1, finetune=finetune)
    features = FeatureStore([run_source(run)], Dataset(tree), layers="all")
    features.compute(["bicycle"])
    model = BrainWavLM.from_pretrained(run / "checkpoints/epoch-001")
    expected = model.story_features(load_audio(tree / "stimuli/bicycle.wav"), STORIES["bicycle"])
    np.testing.assert_allclose(features.load("bicycle", layer=2), expected, atol=1e-5)
    assert features.layers == [0, 1, 2, 3, 4]


def test_another_epoch_has_features_of_its_own(run: Path, tree: Path) -> None:
    epochs = FeatureStore([run_source(run, epoch) for epoch in (0, 1, 2)], Dataset(tree), layers=[1])
    start = FeatureStore([run_source(run, 1).pretrained], Dataset(tree), layers=[1])
    assert len({*epochs.identities.values(), *start.identities.values()}) == 4
    assert run_source(run, 1).pretrained == run_source(run, 2).pretrained


def test_the_users_own_target(tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"], file["c"] = np.ones((5, 2)), np.ones((6, 2)), np.full((5, 2), np.nan)
        file["a"][:, 0] = np.arange(5)
        file["w"], file["f"] = np.eye(5), np.full((5, 2), 1e20)

    class Five:
        def n_trs(self, story: str) -> int:
            return 5

    found = file_target(path, Five(), ["a"])
    assert found.stories["a"].tolist() == [[0], [1], [2], [3], [4]]
    assert found.notes["n_constant"] == 1
    for story, message in (
        ("b", r"'b': expected finite numbers \(5, n_dimensions\)"),
        ("c", r"'c': 10 of 10 values are not numbers that can be used, with NaN or infinity .* first at 0, 0"),
        ("f", r"'f': 10 of 10 values are not numbers that can be used"),
        ("d", "no dataset 'd'"),
        ("w", "'w' has 5 dimensions, 'a' 2"),
    ):
        with pytest.raises(DataError, match=message):
            file_target(path, Five(), ["a", story])


def bwlm(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_probe_command(run: Path, spoken: Path) -> None:
    arguments = ["probe", run, "--data", spoken, "--embeddings", spoken / "glove.txt", "--chunk", 4, "--layers", "0-2"]
    shown = bwlm(*arguments)
    assert shown.exit_code == 0, shown.output
    for words in ("log-mel filterbank (40 bands)", "word embeddings (3", "pre-trained", "UTS02-nonac", "change"):
        assert words in shown.stdout
    assert "have no embedding and are left out, most often: xyzzy" in shown.stdout
    again = bwlm(*arguments, "--json")
    assert json.loads(again.stdout) == json.loads((run / "probes/summary.json").read_text())
    assert "nothing to do" in again.stderr
    other = bwlm(*arguments[:-1], "1")
    assert other.exit_code == 2
    assert "holds results of other settings (layers)" in other.stderr


def test_without_a_run_the_newest_or_the_pretrained_model(
    run: Path, spoken: Path, tmp_path: Path, tiny_wavlm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["probe", "--data", spoken, "--model", tiny_wavlm, "--chunk", 4, "--layers", "1", "--out", "a"]
    alone = bwlm(*arguments)
    assert alone.exit_code == 0, alone.output
    assert "no run was given: probing the pre-trained" in alone.stderr
    assert "name a GloVe file with --embeddings" in alone.stdout
    assert json.loads((tmp_path / "a/summary.json").read_text())["targets"]["mel"]["improvement"] is None
    shutil.copytree(run, tmp_path / "runs/mine")
    newest = bwlm("probe", "--data", spoken, "--chunk", 4, "--layers", "1")
    assert newest.exit_code == 0, newest.output
    assert "probing the newest run, runs/mine" in newest.stderr
    assert (tmp_path / "runs/mine/probes/summary.json").is_file()


def test_the_features_command(run: Path, tree: Path, tmp_path: Path, tiny_wavlm: Path) -> None:
    out = tmp_path / "features.h5"
    arguments = ["features", run, "--out", out, "--stories", "bicycle,adventure", "--layers", "0,4", "--data", tree]
    shown = bwlm(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "2 stories, layers 0, 4 of UTS02-nonac" in shown.stdout
    with h5py.File(out) as file:
        assert file["bicycle"].shape == (2, 22, 32)
        assert file["bicycle"].attrs["times"][4] == 11
    assert "nothing to do" in bwlm(*arguments).stderr
    for change, message in (
        (["features", tiny_wavlm, "--data", tree, "--out", out], "holds something else; it was not overwritten"),
        ([*arguments[:4], "--layers", "7", "--out", tmp_path / "b"], "layer 7 does not exist"),
        ([*arguments[:2], "--out", tmp_path / "b", "--data", tree, "--stories", "bycicle"], "unknown story 'bycicle'"),
        (["features", tiny_wavlm, "--epoch", 2, "--out", tmp_path / "b", "--data", tree], "--epoch is for a run"),
        ([*arguments, "--epoch", "9"], "no checkpoint of epoch 9"),
    ):
        refused = bwlm(*change)
        assert refused.exit_code == 2
        assert message in refused.stderr, refused.stderr


def test_a_language_models_states_are_probed(run: Path, spoken: Path, tmp_path: Path) -> None:
    model, out = save_tiny_gpt(tmp_path / "gpt", "w0 w1 w2 w3 w4 w5 xyzzy"), tmp_path / "states.h5"
    arguments = ["text-features", model, "--data", spoken, "--out", out, "--context", 64]
    shown = bwlm(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "4 stories, layer 1" in shown.stdout
    with h5py.File(out) as file:
        assert {name: file[name].shape for name in file} == {story: (n, 16) for story, n in STORIES.items()}
    assert "nothing to do" in bwlm(*arguments).stderr
    for change, message in ((["--layer", 2], "holds something else"), (["--layer", 4], "layer 4 does not exist")):
        assert message in bwlm(*arguments, *change).stderr
    probed = bwlm("probe", run, "--data", spoken, "--target", out, "--chunk", 4, "--layers", 1, "--out", tmp_path / "p")
    assert probed.exit_code == 0, probed.output
    assert "states" in json.loads((tmp_path / "p/summary.json").read_text())["targets"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layers": [9]}, ConfigError, "layer 9 does not exist"),
        ({"settings": ProbeSettings()}, ConfigError, "use a smaller chunk_length"),
        ({"epoch": 7}, BwlmError, "no checkpoint of epoch 7"),
        ({"embeddings": "nowhere.txt"}, DataError, "no such embeddings file"),
        ({"files": ["nowhere.h5"]}, DataError, "nowhere.h5: no such file of targets"),
    ],
)
def test_bad_input_is_named(run: Path, spoken: Path, tmp_path: Path, change, error, message) -> None:
    options = ProbeOptions(**{"settings": SETTINGS, **change})
    with pytest.raises(error, match=message):
        probe_runs([run], places=Places(spoken), out=tmp_path / "out", options=options)
    assert not (tmp_path / "out/summary.json").exists()
