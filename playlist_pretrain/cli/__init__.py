"""The commands: options, messages, and one call of the library each."""
