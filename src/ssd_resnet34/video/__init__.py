"""Frames of files, network streams and cameras as images with a time; videos drawn and written."""
