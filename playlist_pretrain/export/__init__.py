"""Models that leave the program."""
