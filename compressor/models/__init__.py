"""what an encoder is: config, network, streaming step, cost, files of a checkpoint."""
