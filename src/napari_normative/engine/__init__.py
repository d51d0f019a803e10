"""Work from start to end: cohorts, training, detection, on a chosen device."""
