"""plan, objectives, loop, run; pruning and QAT while distilling."""
