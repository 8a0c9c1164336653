"""Fitting the network to a data set: recipe, loop, checkpoints, validation, what comes out."""
