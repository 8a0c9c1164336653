"""Measuring detections: average precision, its interval and causes, agreement of two runs."""
