"""Embeddings of collections and audio, nearest tracks, playlists that go on, and the map page."""
