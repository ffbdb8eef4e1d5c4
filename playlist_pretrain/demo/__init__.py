"""The demo: a synthetic world of songs, artists, playlists, tags and triplets.

:mod:`~playlist_pretrain.demo.world` draws who makes which songs,
:mod:`~playlist_pretrain.demo.score` writes their notes, :mod:`~playlist_pretrain.demo.synth`
renders them, :mod:`~playlist_pretrain.demo.tables` knows what people say about them, and
:mod:`~playlist_pretrain.demo.build` makes the collections.
"""
