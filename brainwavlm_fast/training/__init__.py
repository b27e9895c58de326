"""Training: from a configuration to a run folder, resumable at any moment."""

from __future__ import annotations

from .loop import TrainingStopped
from .run_folder import resume_run, start_run

__all__ = ["TrainingStopped", "resume_run", "start_run"]
