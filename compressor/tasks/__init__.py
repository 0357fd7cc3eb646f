"""what is asked: corpora → Task (clips, answers, metric, chance)."""
