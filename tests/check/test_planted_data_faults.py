"""Faults planted in the sound, the words and the responses of a clean tree, one at a time.

`check` names each and reports nothing else; training (probes, of words) refuses with the same sentence, or leaves the
voxels out.
"""

from __future__ import annotations

import errno
import fcntl
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from brainwavlm_fast.check import check_dataset
from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.data import Dataset, Interval, story_audio, story_words
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.training.training_data import choose_voxels, open_training_data
from tests.data.test_textgrid import long_format
from tests.helpers.tree import N_VOXELS, STORIES, make_tree

STORY, RATE = "avatar", 16_000
SECONDS = {story: 11 + 2 * n_trs for story, n_trs in STORIES.items()}


def spoken(story):
    """Words of a third of a second with pauses of other lengths between them."""
    rng, words, now = np.random.default_rng(len(story)), [], 0.5
    while now < SECONDS[story] - 2:
        words.append(Interval(round(now, 3), round(now + 0.35, 3), f"w{len(words)}"))
        now += 0.4 + (0.1 if rng.random() < 0.7 else rng.uniform(0.3, 1.5))
    return words


def sound(story):
    """Two channels of noise that is loud where a word is."""
    loud = np.full(RATE * SECONDS[story], 1e-3)
    for word in spoken(story):
        loud[int(word.start * RATE) : int(word.end * RATE)] = 0.1
    voice = loud * np.random.default_rng(1).standard_normal(len(loud))
    return np.stack([voice, 0.5 * voice], axis=1)


def write_words(dataset, words, **others):
    end = SECONDS[STORY]
    tiers = {"phone": (), **others, "word": tuple(words)}
    dataset.textgrid_path(STORY).write_text(long_format(tiers, end=end))


def write_sound(dataset, samples):
    soundfile.write(dataset.audio_path(STORY), samples, RATE, subtype="FLOAT")


def write_responses(dataset, values, **settings):
    with h5py.File(dataset.response_path("S01", STORY), "w") as file:
        file.create_dataset("data", data=values, **settings)


def responses():
    return np.random.default_rng(2).standard_normal((STORIES[STORY], N_VOXELS))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = make_tree(tmp_path_factory.mktemp("clean"))
    dataset = Dataset(root)
    for story in STORIES:
        soundfile.write(dataset.audio_path(story), sound(story), RATE)
        tiers = {"phone": (), "word": tuple(spoken(story))}
        dataset.textgrid_path(story).write_text(long_format(tiers, end=SECONDS[story]))
    write_responses(dataset, responses())
    return root


@pytest.fixture
def dataset(clean, tmp_path):
    return Dataset(shutil.copytree(clean, tmp_path / "tree"))


def config(dataset):
    model, train = preset("paper")
    return RunConfig(
        str(dataset.root), "paper", model, replace(train, subject="S01", validation=("fromboyhoodtofatherhood",))
    )


def train(dataset):
    """Everything that training reads before a model is made."""
    split, subjects = choose_voxels(config(dataset), dataset, Progress())
    return open_training_data(config(dataset), dataset, split, subjects, Progress())


# --- what is planted -------------------------------------------------------------------------------------------------


def nan_sample(dataset):
    samples = sound(STORY)
    samples[70_000, 1] = np.nan
    write_sound(dataset, samples)


def one_sample_of_infinity(dataset):
    samples = sound(STORY)
    samples[3, 0] = -np.inf
    write_sound(dataset, samples)


def silent(dataset):
    write_sound(dataset, np.zeros((RATE * SECONDS[STORY], 2)))


def anti_phase(dataset):
    left = sound(STORY)[:, :1]
    write_sound(dataset, np.hstack([left, -0.99 * left]))


def dangling_link(dataset):
    path = dataset.audio_path(STORY)
    path.unlink()
    path.symlink_to("/media/nobody/stories/avatar.wav")


def same_in_every_voxel(dataset):
    values = responses()
    values[[4, 9]] = 0.25
    write_responses(dataset, values)


def same_in_every_voxel_that_varies(dataset):
    values = responses()
    values[:, 5] = 7
    values[11] = 0
    write_responses(dataset, values)


def a_scan_of_nan(dataset):
    values = responses()
    values[6] = np.nan
    write_responses(dataset, values)


def a_scan_of_fill(dataset):
    values = responses()
    values[6] = 1e20
    write_responses(dataset, values)


def unwritten_chunks(dataset):
    with h5py.File(dataset.response_path("S01", STORY), "w") as file:
        data = file.create_dataset("data", (STORIES[STORY], N_VOXELS), "f8", chunks=(6, 20))
        data[:18] = responses()[:18]
        data[18:, :20] = responses()[18:, :20]


def never_written(dataset):
    with h5py.File(dataset.response_path("S01", STORY), "w") as file:
        file.create_dataset("data", (STORIES[STORY], N_VOXELS), "f8")


def external_link(dataset):
    with h5py.File(dataset.response_path("S01", STORY), "w") as file:
        file["data"] = h5py.ExternalLink("elsewhere.h5", "/data")


def missing_source(dataset):
    shape = (STORIES[STORY], N_VOXELS)
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource("parts.h5", "data", shape)
    with h5py.File(dataset.response_path("S01", STORY), "w") as file:
        file.create_virtual_dataset("data", layout)


def twice_as_wide(dataset):
    write_responses(dataset, np.hstack([responses()] * 2))


def locked(dataset):
    file = dataset.response_path("S01", STORY).open("rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def later_by_20_s(dataset):
    write_words(dataset, [Interval(w.start + 20, w.end + 20, w.text) for w in spoken(STORY)])


def later_by_20_s_and_cut(dataset):
    later = [Interval(w.start + 20, w.end + 20, w.text) for w in spoken(STORY)]
    write_words(dataset, [w for w in later if w.end < SECONDS[STORY]])


def earlier_by_3_s(dataset):
    write_words(dataset, [Interval(w.start - 3, w.end - 3, w.text) for w in spoken(STORY)[8:]])


def two_tiers(dataset):
    write_words(dataset, spoken(STORY), Word=tuple(spoken(STORY)[:4]))


def a_word_after_the_end(dataset):
    end = SECONDS[STORY]
    write_words(dataset, [*spoken(STORY), Interval(end + 0.4, end + 1, "late")])


@dataclass(frozen=True)
class Fault:
    """``who`` refuses it: training, or probes of words."""

    plant: object
    says: str
    who: str = "train"


FAULTS = [
    Fault(nan_sample, "samples and channels: 1 of 1824000 values are not numbers that can be used, with NaN or "
          "infinity (or over 1e+18) first at 70000, 1, counted from 0"),
    Fault(one_sample_of_infinity, "first at 3, 0, counted from 0"),
    Fault(silent, "avatar.wav is silent"),
    Fault(anti_phase, "avatar.wav: its channels cancel each other"),
    Fault(dangling_link, "avatar.wav is a link to /media/nobody/stories/avatar.wav, which does not exist; is the disk"),
    Fault(same_in_every_voxel, "avatar.hf5: 2 of 23 rows (the first is row 4, counted from 0) hold one value"),
    Fault(same_in_every_voxel_that_varies, "avatar.hf5: 1 of 23 rows (the first is row 11, counted from 0)"),
    Fault(a_scan_of_nan, "avatar.hf5: 1 of 23 rows (the first is row 6, counted from 0) hold one value in most"),
    Fault(a_scan_of_fill, "avatar.hf5: 1 of 23 rows (the first is row 6, counted from 0) hold one value in most"),
    Fault(unwritten_chunks, "avatar.hf5: 1 of 8 parts of 'data' were never written"),
    Fault(never_written, "avatar.hf5: 1 of 1 parts of 'data' were never written"),
    Fault(external_link, "avatar.hf5: 'data' is a link to elsewhere.h5, which is missing"),
    Fault(missing_source, "avatar.hf5: 'data' lies in other files, of which parts.h5 is missing"),
    Fault(twice_as_wide, "avatar.hf5 has 80 voxels"),
    Fault(locked, "avatar.hf5 cannot be read: another program has locked it"),
    Fault(later_by_20_s, "avatar.TextGrid: its last word ends at 7", "words"),
    Fault(later_by_20_s_and_cut, "fit the loudness of the sound if they are moved by -20.0 s", "words"),
    Fault(earlier_by_3_s, "fit the loudness of the sound if they are moved by +3.0 s", "words"),
    Fault(two_tiers, "avatar.TextGrid has 2 tiers that could be 'word' (Word, word)", "words"),
    Fault(a_word_after_the_end, "its last word ends at 58.0 s, but the sound lasts 57.0 s", "words"),
]  # fmt: skip


def problems(report):
    return [problem for part in report.parts for problem in part.problems]


def test_the_clean_tree_has_nothing_to_report(dataset):
    report = check_dataset(dataset)
    assert problems(report) == []
    assert report.commands == []
    assert [part.name for part in report.parts if "excluded" in part.name] == []
    assert report.trainable == ["UTS01"]
    assert all(len(subject.excluded) == 0 for subject in train(dataset).subjects.values())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)
def test_each_fault_is_found_alone_and_refused(dataset, fault):
    held = fault.plant(dataset)
    report = check_dataset(dataset)
    (problem,) = problems(report)
    assert fault.says in problem
    assert report.commands == []
    if fault.who == "train":
        assert report.trainable == []
        with pytest.raises(DataError, match=re.escape(fault.says)):
            train(dataset)
    else:
        assert report.trainable == ["UTS01"]
        audio = story_audio(dataset, STORY)
        with pytest.raises(DataError, match=re.escape(problem)):
            story_words(dataset, STORY, audio)
    if held is not None:
        held.close()


@pytest.mark.parametrize(
    ("value", "where"),
    [(np.nan, 3), (np.inf, 3), (1e20, 3), (9.96921e36, 0), (-9999.0, 3), (1e39, 3), (-1e300, slice(None))],
)
def test_voxels_with_what_no_response_can_be_are_left_out_and_counted(dataset, value, where):
    values = responses()
    values[where, 8] = value
    write_responses(dataset, values)
    report = check_dataset(dataset)
    assert problems(report) == []
    assert [part.name for part in report.parts if "(1 voxels with NaN, a fill value or a constant" in part.name]
    (subject,) = train(dataset).subjects.values()
    assert subject.excluded.tolist() == [8]


@pytest.mark.parametrize("values", [1e9 + np.arange(23.0), 1e-60 * np.arange(23.0)])
def test_a_voxel_that_varies_in_float64_alone_is_left_out(dataset, values):
    planted = responses()
    planted[:, 8] = values
    write_responses(dataset, planted)
    (subject,) = train(dataset).subjects.values()
    assert subject.excluded.tolist() == [8]


def test_pointer_files_of_an_unlocked_clone_are_not_fetched(dataset):
    def unfetched(path: Path, size: int) -> None:
        path.write_text(f"/annex/objects/MD5E-s{size}--0123456789abcdef{path.suffix}\n")

    unfetched(dataset.audio_path(STORY), 5_000_000)
    unfetched(dataset.response_path("S01", STORY), 2048 + 8 * STORIES[STORY] * N_VOXELS)
    unfetched(dataset.textgrid_path(STORY), 800)
    unfetched(dataset.mask_path("S01"), 300)
    unfetched(dataset.root / "derivative/freesurfer_subjdir/UTS01/label/lh.aparc.annot", 900)
    shutil.rmtree(dataset.root / "derivative/pycortex-db/UTS01/surfaces")
    report = check_dataset(dataset)
    assert [problem for problem in problems(report) if "is not in the tree" not in problem] == []
    assert report.trainable == []
    assert {part.name: part.missing_size for part in report.parts}["audio"] == 5_000_000
    pycortex = "pycortex-db/UTS01/"
    folders = (f"{pycortex}transforms/UTS01_auto", f"{pycortex}overlays.svg", "freesurfer_subjdir/UTS01/label")
    assert report.commands == [
        "datalad get stimuli",
        "datalad get derivative/TextGrids",
        "datalad get derivative/preprocessed_data/UTS01",
        "datalad get derivative/pycortex-db/UTS01/transforms/UTS01_auto/mask_thick.nii.gz",
        f"datalad get {' '.join(f'derivative/{folder}' for folder in folders)}",
    ]
    with pytest.raises(DataError, match=r"has not been downloaded. In .*, run: datalad get stimuli/avatar.wav"):
        train(dataset)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EACCES, "this user may not read it (permission denied). Ask its owner, or: chmod u+r."),
        (errno.EIO, "the disk or the network failed, not the file. Try again."),
        (errno.ESTALE, "the disk or the network failed, not the file. Try again."),
        (errno.ENOLCK, "another program has locked it"),
    ],
)
def test_what_the_system_refuses_is_not_damage(dataset, monkeypatch, number, says):
    plain, path = h5py.File, dataset.response_path("S01", STORY)

    def refuse(name, *arguments, **settings):
        if Path(name) == path:
            raise OSError(f"Unable to synchronously open file (errno = {number}, error message = '...')")
        return plain(name, *arguments, **settings)

    monkeypatch.setattr(h5py, "File", refuse)
    (problem,) = problems(check_dataset(dataset))
    assert problem.startswith(f"{path} cannot be read: ")
    assert says in problem
    assert "download" not in problem
    with pytest.raises(DataError, match="cannot be read: "):
        train(dataset)


def test_a_file_that_another_user_owns(dataset, monkeypatch):
    path = dataset.audio_path(STORY)
    monkeypatch.setattr("os.access", lambda asked, mode: asked != path)
    (problem,) = problems(check_dataset(dataset))
    assert problem.startswith(f"{path} cannot be read: this user may not read it (permission denied).")
