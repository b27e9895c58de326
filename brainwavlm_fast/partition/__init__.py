"""Which part of a voxel's explained variance is the speech model's, the sound's, the words', and what tuning moved."""
