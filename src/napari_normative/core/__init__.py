"""What is computed: arrays in, arrays out; no files, no threads, no Qt."""
