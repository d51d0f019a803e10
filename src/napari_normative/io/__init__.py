"""Files in and out: every byte that enters or leaves the program."""
