"""Slices of the Million Playlist Dataset: megabytes of JSON per second, and memory.

python benchmarks/playlists.py [--slices 6] [--playlists 1000] [--many 1000]

The peer is ``json.load`` in one thread, which is what a user's own loop would do, and the limit
reading the bytes. Memory is that of a process and its children, for a tenth of the slices and for
all of them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import print_table

TRACKS_A_PLAYLIST = 66


def write_slices(folder, slices, playlists, seed=0):
    """Slices with every field of the data set, and invented names."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(slices):
        first = number * playlists
        made = [_playlist(rng, first + i) for i in range(playlists)]
        info = {"generated_on": "2017-12-03 08:41:42.057563", "slice": f"{first}", "version": "v1"}
        path = folder / f"mpd.slice.{first}-{first + playlists - 1}.json"
        path.write_text(json.dumps({"info": info, "playlists": made}, indent=4))


def _playlist(rng, pid):
    count = int(np.clip(rng.lognormal(np.log(48), 0.85), 5, 250))
    numbers = rng.zipf(1.3, count) % 2_000_000
    tracks = [
        {
            "pos": position,
            "artist_name": f"Artist {number % 300_000}",
            "track_uri": f"spotify:track:{number:022d}",
            "artist_uri": f"spotify:artist:{number % 300_000:022d}",
            "track_name": f"A Track Of Some Name {number}",
            "album_uri": f"spotify:album:{number % 700_000:022d}",
            "duration_ms": 180_000 + int(number) % 90_000,
            "album_name": f"An Album With A Name {number % 700_000}",
        }
        for position, number in enumerate(numbers.tolist())
    ]
    return {
        "name": f"playlist {pid}",
        "collaborative": "false",
        "pid": pid,
        "modified_at": 1493424000,
        "num_tracks": count,
        "num_albums": count,
        "num_followers": 1,
        "tracks": tracks,
        "num_edits": 6,
        "duration_ms": 11532414,
        "num_artists": count,
    }


def read_bytes(files):
    return sum(len(file.read_bytes()) for file in files)


def json_loads(files):
    return sum(
        len([track["track_uri"] for track in playlist["tracks"]])
        for file in files
        for playlist in json.loads(file.read_bytes())["playlists"]
    )


def reader(files, workers):
    from playlist_pretrain.playlists.readers import READERS, Request

    mpd = READERS.get("mpd")
    sources = mpd.sources(files[0].parent)
    return sum(len(tracks) for _, tracks in mpd.read(sources, Request(workers=workers)))


JOBS = {
    "reading the bytes (limit)": read_bytes,
    "json.loads, one thread (peer)": json_loads,
    "reader, one process": lambda files: reader(files, 1),
    "reader, two processes": lambda files: reader(files, 2),
}


def peak_of_reading(folder):
    """Peak memory in MB of a process that reads a folder with two others, and of those two."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from playlist_pretrain.playlists.readers import READERS, Request\n"
        "if __name__ == '__main__':\n"
        "    mpd = READERS.get('mpd')\n"
        "    request = Request(workers=2)\n"
        "    for part in mpd.read(mpd.sources(Path(sys.argv[1])), request): pass\n"
        "    own = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]\n"
        "    import time; time.sleep(0.5)\n"
        "    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "    print(int(own) / 1000, children / 1000)\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary) / "read.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, str(script), str(folder)], capture_output=True, text=True, check=True
        )
    return [float(value) for value in done.stdout.split()]


def main():
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--playlists", type=int, default=1000, help="in a slice")
    parser.add_argument("--many", type=int, default=1000, help="slices of 20 playlists")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "mpd"
        write_slices(folder, options.slices, options.playlists)
        files = sorted(folder.iterdir())
        size = read_bytes(files) / 1e6
        best = {}
        for _ in range(options.rounds):
            for name, job in JOBS.items():
                started = time.perf_counter()
                job(files)
                best[name] = min(best.get(name, np.inf), time.perf_counter() - started)
        peer = best["json.loads, one thread (peer)"]
        print_table(
            f"{options.slices} slices, {size:,.0f} MB of JSON, best of {options.rounds}",
            ("", "MB/s", "against the peer"),
            [(name, f"{size / s:,.0f}", f"{peer / s:.1f}") for name, s in best.items()],
        )
        rows = []
        for count in (max(1, options.many // 10), options.many):
            many = Path(temporary) / f"many-{count}"
            write_slices(many, count, 20)
            own, children = peak_of_reading(many)
            rows.append((f"{count} slices", f"{own:,.0f}", f"{children:,.0f}"))
        print_table("peak memory in MB", ("", "process", "largest of its children"), rows)


if __name__ == "__main__":
    main()
