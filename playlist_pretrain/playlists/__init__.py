"""Groups of tracks: playlists, artists, albums, sessions."""
