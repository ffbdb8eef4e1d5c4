"""The tests of models find the packages of Essentia that are made for them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
