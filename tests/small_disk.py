"""A process with a small file system of its own, a tmpfs, in which commands run.

``python small_disk.py FOLDER``, in a mount namespace of its own, mounts it on FOLDER. Each line of
JSON on standard input, ``[variables, verb, word, …]``, runs a command in FOLDER, in a fork, which
saves it the imports; its exit code and standard error come back as a line of JSON.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

PAGE = 4096
SIZE = 64 << 20


class SmallDisk:
    """Commands in a folder whose file system has as much room as :meth:`leave` says."""

    def __init__(self, folder):
        folder.mkdir()
        self._process = subprocess.Popen(
            ["unshare", "-rm", sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
        assert self._process.stdout.readline() == "ready\n"
        # Other processes see the file system through this one.
        self.folder = Path(f"/proc/{self._process.pid}/root{folder}")

    @staticmethod
    def why_not():
        """Why no file system can be mounted here; None where it can."""
        mount = "mount -t tmpfs tmpfs /mnt"
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(["unshare", "-rm", *mount.split()], capture_output=True)
            return done.stderr.decode().strip() if done.returncode else None
        return "there is no unshare"

    def leave(self, pages):
        """Leave so many pages free; None for all."""
        filler = self.folder / ".filler"
        filler.unlink(missing_ok=True)
        if pages is not None:
            free = os.statvfs(self.folder).f_bavail - pages
            with open(filler, "wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, free * PAGE)

    def run(self, *words, **variables):
        """Run a command; its exit code and what it says on standard error."""
        print(json.dumps([variables, *words]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve(folder):
    """Answer commands; in a fork, return the one to run."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    os.chdir(folder)
    for name in ("tensorflow", "playlist_pretrain.models.trust"):
        importlib.import_module(name)
    warnings.simplefilter("ignore")  # of forks beside threads, which run nothing here
    print("ready", flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                for descriptor, stream in ((0, os.open(os.devnull, os.O_RDONLY)),
                                           (1, os.open(os.devnull, os.O_WRONLY)),
                                           (2, said.fileno())):  # fmt: skip
                    os.dup2(stream, descriptor)
                return json.loads(line)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            print(json.dumps([code, said.read().decode()]), flush=True)
    return None


def _main(variables, verb, *words):
    os.environ.update(variables)
    tempfile.tempdir = None  # TMPDIR may be among them
    sys.argv = ["playlist-pretrain", verb, *words]
    main = importlib.import_module(f"playlist_pretrain.cli.{verb}").main
    if verb != "make_demo":
        return main(words)
    from conftest import one_process

    from playlist_pretrain.demo import build

    with one_process() as patch:
        patch.setattr(build, "SECONDS", 1.0)
        return main(words)


if __name__ == "__main__":
    command = _serve(sys.argv[1])
    raise SystemExit(0 if command is None else _main(*command))
