"""``bwlm simulate``: a simulated brain in ds003020's layout, with the ground truth beside it.

Student -> teacher -> what the brain follows -> noisy responses; one file per step.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ..config import Finetune
from ..data import SAMPLE_RATE, TR, Dataset, load_audio, response_times
from ..data.mel import N_MELS, log_mel
from ..errors import BwlmError
from ..files import atomic_folder, provenance, read_json, write_json
from ..model import Encoder, Story, cache_front_end, save_wavlm, story_features
from ..progress import Progress
from .brain import DELAYS, make_anatomy, make_cortex, zscore
from .layout import write_arrays, write_embeddings, write_index, write_sound, write_textgrid
from .lexicon import Lexicon, make_lexicon, make_meaning_apart
from .settings import MONO, NPZ_SURFACES, OWN_TEACHER, TEST, VERSION, Settings, planted_model
from .sheet import make_sheets
from .speech import WAV_RATE, synthesize_syllables
from .stories import Spoken, tell_story, window_meaning
from .student import pretrain_student
from .surface_files import write_anatomy
from .teacher import Teacher, fit_teacher, load_teacher, save_teacher
from .truth import check_plant, measure_truth, write_truth

_LESSONS = 4


def simulate(
    folder: Path | str, settings: Settings, *, reuse: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Write a simulated brain with known ground truth ("planted"); returns the truth's summary.

    Parameters
    ----------
    folder : Path | str
        Must not exist, or be empty; it is written atomically.
    reuse : Path, optional
        Another simulated brain of the same seed and settings whose student and teachers are taken.

    Raises
    ------
    BwlmError
        The folder is in use, ``reuse`` is of other settings, or the plant would be empty (the student's attention is
        uniform, or it predicts the brain already).
    """
    folder, progress = Path(folder), progress or Progress()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BwlmError(f"{folder} exists and is not empty; nothing was written. Choose another folder.")
    made = _Making(settings, reuse, progress)
    with atomic_folder(folder) as root:
        return made.write(root)


class _Making:
    """One simulation under way."""

    def __init__(self, settings: Settings, reuse: Path | None, progress: Progress) -> None:
        self.settings, self.progress = settings, progress
        self.reuse = None if reuse is None else _check_reuse(reuse, settings)
        self.lexicon: Lexicon = make_lexicon(settings.stream("lexicon"))
        self.tokens = synthesize_syllables(settings.stream("voice"))

    def write(self, root: Path) -> dict[str, Any]:
        settings = self.settings
        self._write_student(root / "student")
        self._write_stories(root)
        sound = {name: load_audio(Dataset(root).audio_path(name), cache=root / ".audio") for name in settings.stories}
        shutil.rmtree(root / ".audio")
        config = planted_model(str(root / "student"), finetune="frozen")
        student = Encoder(config).eval()
        stories = {}
        with self.progress.task("front end of the stories", len(sound)) as advance:
            for name, audio in sound.items():
                stories[name] = Story(audio, settings.stories[name], config, for_training=False)
                cache_front_end(student, stories[name])
                advance(note=name)
        teachers = self._teachers(root, config)
        encoders = {"student": student, **{which: teacher.encoder for which, teacher in teachers.items()}}
        features = {
            which: {name: story_features(encoder, story).numpy() for name, story in stories.items()}
            for which, encoder in encoders.items()
        }
        if settings.null:  # auditory cortex, too, follows what the student hears already
            heard = {name: values[:, :N_MELS].astype(np.float64) for name, values in features["student"].items()}
        else:
            heard = {name: mel_at_responses(audio, settings.stories[name]) for name, audio in sound.items()}
        anatomy = make_anatomy(settings.n_voxels, settings.n_ac)
        sheets = make_sheets(anatomy)
        truths = {}
        for subject in settings.subjects:
            which = OWN_TEACHER if subject == OWN_TEACHER else "shared"
            teacher = teachers[which]
            latents = {name: teacher.latents(value) for name, value in features[which].items()}
            n_latents = self.lexicon.embeddings.shape[1]
            cortex = make_cortex(anatomy, n_latents, N_MELS, settings.stream(f"cortex-{subject}"))
            signals = cortex.signals(latents, heard, settings.training)
            measured = self._write_responses(root, subject, cortex, signals)
            write_anatomy(root, subject, anatomy, sheets, npz=subject == NPZ_SURFACES)
            self.progress.say(f"measuring what {subject} can be predicted from")
            truths[subject] = measure_truth(
                settings, anatomy, measured, signals, latents=latents, heard=heard, teacher=features[which],
                student=features["student"],
            )  # fmt: skip
        if not settings.null:
            check_plant(student, stories[TEST], truths[settings.subjects[0]])
        write_embeddings(root / "derivative" / "embeddings.txt", self.lexicon)
        for which, teacher in teachers.items():
            save_teacher(root / "truth" / f"teacher-{which}", teacher)
        summary = write_truth(root / "truth", anatomy, truths)
        write_json(root / "truth" / "settings.json", _describe(settings) | {"provenance": provenance()})
        return {"settings": _describe(settings), "truth": summary}

    @cached_property
    def _lessons(self) -> list[tuple[Spoken, NDArray[np.float32]]]:
        rng, seconds = self.settings.stream("lessons"), self.settings.lesson_minutes * 60 / _LESSONS
        told = [tell_story(self.lexicon, self.tokens, seconds, rng) for _ in range(_LESSONS)]
        return [(spoken, soxr.resample(spoken.sound, WAV_RATE, SAMPLE_RATE, quality="VHQ")) for spoken in told]

    def _write_student(self, folder: Path) -> None:
        if self.reuse is not None:
            shutil.copytree(self.reuse / "student", folder)
            return
        sound = np.concatenate([audio for _, audio in self._lessons])
        model = pretrain_student(sound, self.settings.student_steps, self.settings.number("student"), self.progress)
        save_wavlm(model, folder)

    def _teachers(self, root: Path, frozen: Any) -> dict[str, Teacher]:
        """The shared teacher and UTS03's, as far as the subjects need them."""
        settings = self.settings
        finetune: Finetune = "frozen" if settings.null else "lora"
        config = planted_model(str(root / "student"), finetune=finetune)
        wanted = sorted({OWN_TEACHER if s == OWN_TEACHER else "shared" for s in settings.subjects})
        if self.reuse is not None:
            return {which: load_teacher(self.reuse / "truth" / f"teacher-{which}", config) for which in wanted}
        student = Encoder(frozen).eval()
        lessons = []
        with self.progress.task("front end of the lessons", len(self._lessons)) as advance:
            for spoken, audio in self._lessons:
                n_trs = int(len(audio) / SAMPLE_RATE / TR) - 8
                story = Story(audio, n_trs, config, for_training=False)
                cache_front_end(student, story)
                lessons.append((spoken, story))
                advance()
        teachers = {}
        for which in wanted:
            meaning = self.lexicon.embeddings
            if which == OWN_TEACHER:
                meaning = make_meaning_apart(self.lexicon, settings.stream("meaning-own"))
            pairs = [
                (story, window_meaning(spoken, meaning, story.plan.ends / SAMPLE_RATE, config.window))
                for spoken, story in lessons
            ]
            seed = settings.number(f"teacher-{which}")
            teachers[which] = fit_teacher(config, pairs, settings.teacher_steps, seed, self.progress)
        return teachers

    def _write_stories(self, root: Path) -> None:
        settings = self.settings
        (root / "derivative" / "preprocessed_data").mkdir(parents=True)
        with self.progress.task("telling stories", len(settings.stories)) as advance:
            for name, n_trs in settings.stories.items():
                rng = settings.stream(f"story-{name}")
                # The last response is centered at 11 + 2 (n_trs - 1) s; real audio outlasts it by some 10 s.
                spoken = tell_story(self.lexicon, self.tokens, 11 + TR * n_trs + 6, rng)
                write_sound(root / "stimuli" / f"{name}.wav", spoken, mono=name in MONO, rng=rng)
                write_textgrid(root / "derivative" / "TextGrids" / f"{name}.TextGrid", spoken, self.lexicon)
                advance(note=name)
        write_index(root, settings.stories, settings.subjects, f"{VERSION}-seed{settings.seed}")

    def _write_responses(
        self, root: Path, subject: str, cortex: Any, signals: dict[str, NDArray]
    ) -> dict[str, NDArray]:
        measured = {}
        folder = root / "derivative" / "preprocessed_data" / subject
        for name, signal in signals.items():
            rng = self.settings.stream(f"noise-{subject}-{name}")
            if name == TEST:
                repeats = cortex.measure_repeats(signal, rng)
                arrays = {"data": zscore(repeats.mean(axis=0)), "individual_repeats": repeats}
            else:
                arrays = {"data": cortex.measure(signal, rng)}
            write_arrays(folder / f"{name}.hf5", arrays)
            measured[name] = arrays["data"]
        return measured


def mel_at_responses(audio: NDArray[np.float32], n_trs: int) -> NDArray[np.float64]:
    """Mean log-mel energies over each response's TR, with context: (max(DELAYS) + n_trs, n_mels)."""
    hop = 320
    frames = log_mel(audio, hop=hop).astype(np.float64)
    times = response_times(n_trs, context=max(DELAYS))
    first = ((times - TR / 2) * SAMPLE_RATE / hop).astype(int)
    return np.stack([frames[a : a + int(TR * SAMPLE_RATE / hop)].mean(axis=0) for a in first])


def _describe(settings: Settings) -> dict[str, Any]:
    return {"version": VERSION, **asdict(settings), "subjects": list(settings.subjects)}


def _check_reuse(reuse: Path, settings: Settings) -> Path:
    """The other data set, if its student and teachers are what these settings would make."""
    try:
        theirs = read_json(reuse / "truth" / "settings.json")
    except BwlmError as error:
        raise BwlmError(f"--reuse {reuse}: not a simulated brain ({error})") from None
    ours = _describe(settings)
    for name in ("version", "seed", "null", "lesson_minutes", "student_steps", "teacher_steps"):
        if theirs.get(name) != ours[name]:
            raise BwlmError(
                f"--reuse {reuse}: its {name} is {theirs.get(name)!r}, wanted {ours[name]!r}; its models would differ."
            )
    if OWN_TEACHER in settings.subjects and OWN_TEACHER not in theirs["subjects"]:
        raise BwlmError(f"--reuse {reuse}: it has no {OWN_TEACHER}, whose teacher is needed.")
    return reuse
