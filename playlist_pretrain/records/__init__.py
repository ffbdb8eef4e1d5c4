"""Collections: sharded log-mels and the reader of their windows."""
