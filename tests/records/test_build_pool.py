import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_loaders import Chore

from playlist_pretrain.errors import AudioError
from playlist_pretrain.records.workers import work_through

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("audio error", AudioError, "a.ogg"),
        ("disk full", OSError, "No space left on device: 'b'"),
        ("unpicklable", RuntimeError, "Odd: cannot travel"),
    ],
)
def test_errors_arrive_with_the_workers_traceback(task, kind, message):
    work = work_through(Chore(), [task], 1, on_step=lambda *_: None, on_death=lambda *_: None)
    with pytest.raises(kind, match=message) as caught:
        list(work)
    assert "build_loaders.py" in "".join(caught.value.__notes__)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from build_loaders import Chore\n"
        "from playlist_pretrain.records.workers import work_through\n"
        "list(work_through(Chore(), ['tell ' + sys.argv[2]], 1,"
        " on_step=lambda *_: None, on_death=lambda *_: None))\n"
    )
    note = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(note)]
    ) as parent:
        worker = _wait_for(lambda: note.exists() and note.read_text())
        parent.kill()
    _wait_for(lambda: not _alive(int(worker)))


def _wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return answer


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie waits for its new parent, and does nothing else.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
