"""Evaluate a trained encoder: voxelwise encoding models, their significance, epoch selection, transfer."""
