"""From an audio file to a log-mel."""
