"""ExMix, rebuilt from its datasets' own distributions."""
