"""Compilation: an fp32 artifact and activation ranges in, a deployable int8 artifact out."""
