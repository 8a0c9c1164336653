"""People's own images and boxes: read where they lie, checked, augmented, streamed."""
