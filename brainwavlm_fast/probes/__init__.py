"""How well each layer predicts acoustic and semantic targets."""
