"""Nearest tracks, playlists that go on, and the map of a space."""
