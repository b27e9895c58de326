"""The data set: tree, timing, sound, responses, words and story splits. Loads no image library."""

from __future__ import annotations

from .audio import SAMPLE_RATE, audio_identity, load_audio, require_sound
from .responses import n_voxels, open_hdf5, read_repeats, read_responses, story_width, unusable_voxels
from .story_split import PAPER_TEST, PAPER_VALIDATION, StorySplit, make_split
from .targets import read_target, usable_dimensions
from .textgrid import Interval, TextGrid, read_textgrid, words
from .timing import TR, response_times
from .tree import Dataset, annex_size, find_dataset
