"""Pictures from saved results: nothing here computes a score, and nothing needs torch."""
