"""OPT in Flax: layers, attention kernels, parameters and decoding with a cache."""
