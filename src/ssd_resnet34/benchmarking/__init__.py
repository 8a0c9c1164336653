"""How fast this machine runs the detector, as ratios of interleaved pairs."""
