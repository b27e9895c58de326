"""Fine-tune WavLM with LoRA on fMRI responses to stories, end to end, on a native core."""

from __future__ import annotations
