"""From bytes to a network input, and from network outputs to detections: numpy and OpenCV only."""
