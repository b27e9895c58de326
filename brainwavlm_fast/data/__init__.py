"""The data set: tree, timing, sound, responses, words and story splits. Loads no image library."""

from __future__ import annotations

from .annex import annex_size
from .audio import SAMPLE_RATE, audio_identity, load_audio, require_audio, story_audio
from .hdf5 import open_hdf5
from .numbers import usable_columns
from .responses import n_voxels, read_repeats, read_responses, unusable_voxels, usable_voxels
from .story_split import PAPER_TEST, PAPER_VALIDATION, StorySplit, make_split
from .targets import read_target, usable_dimensions
from .textgrid import Interval, TextGrid, phones, read_textgrid, words
from .timing import TR, response_times
from .transcript import story_words
from .tree import Dataset, find_dataset
