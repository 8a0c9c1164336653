"""A million images, nothing lost: planned, run, resumed and reconciled, on disks and in stores."""
