"""Music embedding models learned from playlists.

Importing the package is light: TensorFlow, Essentia and Numba are imported by the
functions that need them.
"""

from playlist_pretrain.version import __version__

__all__ = ["__version__"]
