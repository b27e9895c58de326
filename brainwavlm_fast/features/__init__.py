"""Features of stories at TR rate: their sources, the store that keeps them, and their export."""
