"""Mutated playlists, tables and histories: groups or the family's errors, nothing else, and soon.

``python tests/playlists/test_mutated.py SEED COUNT`` tries COUNT inputs from SEED on, each of which
is made by its own seed, so that one that fails is found again.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_odd_corpus import CORPUS

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request
from playlist_pretrain.playlists.readers.source import LeftOut

CASES = [case for case, packing in CORPUS if packing == "plain"]
LONGEST_SECONDS = 10
TOKENS = [
    b'"', b"\t", b",", b";", b"\n", b"\r", b"\0", b"<", b"&", b"[", b"]", b"{", b"}", b"\xff\xfe",
    b"\xfe\xff", b"null", b"1e999", b"-1", b"NaN", b"\\ud800", b"<array>", b"<dict>", b"<data>!",
    b"<integer>0x</integer>", b"#EXTENC: idna\n", b"#EXTENC: undefined\n", b'sep="\n', b"%ff",
    b"\\\\", b"file://", b"9" * 5000, b"[" * 20_000, "ß".encode(),
]  # fmt: skip


def mutated(data, rng):
    """Bytes with a few places changed, put in, left out or repeated."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        place, kind = rng.randrange(len(changed) + 1), rng.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] = rng.randrange(256)
        elif kind == 1:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 2:
            del changed[place : place + rng.randrange(20)]
        elif kind == 3:
            start = rng.randrange(len(changed) + 1)
            changed[place:place] = changed[start : start + rng.randrange(60)]
        else:
            del changed[place:]
    return bytes(changed)


def read_mutated(seed, folder):
    """Read one mutated input, going on after damage and not; the seconds it took."""
    rng = random.Random(seed)
    case = rng.choice(CASES)
    ((name, data),) = case.files.items()
    path = folder / name
    path.write_bytes(mutated(data, rng))
    reader = READERS.get(case.reader)
    begun = time.monotonic()
    for keep_going in (True, False):
        left_out = LeftOut(keep_going=keep_going)
        sources = reader.sources(path)
        sources[0].encoding = case.encoding
        request = {"kind": reader.kinds[0]} | case.request
        try:
            for group, tracks in reader.read(sources, Request(**request, damaged=left_out)):
                assert group and all(tracks)
                "".join([group, *tracks]).encode()
        except TableError as error:
            assert not keep_going and str(error).isprintable() and str(path) in str(error)
        assert all(str(path) in message for message in left_out.sources)
    return time.monotonic() - begun


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_mutated_inputs_give_groups_or_one_message(first, tmp_path):
    for seed in range(first, first + 100):
        assert read_mutated(seed, tmp_path) < LONGEST_SECONDS, seed


def main(first, count):
    """Try many; print the seeds that fail and the longest time."""
    failed, longest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            try:
                longest = max(longest, read_mutated(seed, Path(folder)))
            except Exception as error:
                failed.append(seed)
                print(f"seed {seed}: {error!r}"[:500])
    print(f"{count:,} inputs, {len(failed)} failed, the longest took {longest:.2f} s")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])) > 0)
