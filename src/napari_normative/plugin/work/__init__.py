"""What the docks' jobs do, off the main thread: no viewer, no Qt."""
