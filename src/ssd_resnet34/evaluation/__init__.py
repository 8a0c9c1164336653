"""Measuring detections: agreement between two runs."""
