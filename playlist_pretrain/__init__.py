"""Music embedding models learned from playlists.

Importing the package is light: TensorFlow, Essentia and Numba are imported by the
functions that need them.
"""

__version__ = "0.1.0"
