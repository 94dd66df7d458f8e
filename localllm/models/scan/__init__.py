"""Models that other programs keep on this machine: found by looking only, to be used where they are."""
