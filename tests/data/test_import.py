from __future__ import annotations

import subprocess
import sys

HEAVY = ("h5py", "nibabel", "scipy", "soundfile", "soxr", "torch")


def test_the_data_room_loads_a_files_library_when_a_file_is_opened():
    code = f"import sys, brainwavlm_fast.data; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
