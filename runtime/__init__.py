"""Runs artifacts on the device; never imports the compressor."""
