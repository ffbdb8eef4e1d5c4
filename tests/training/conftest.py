"""A collection small enough to train on in seconds, and the arguments to do so."""

import contextlib
import io
import shutil

import numpy as np
import pytest
from processes import Stop, after_step, power_cut


@pytest.fixture(scope="session")
def small_world(make_collection, tmp_path_factory):
    """Collection of 60 tracks with 20 playlists of 3 to 8 tracks; two tracks are short.

    There are 30 artists as well, of two tracks each.
    """
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path

    path = tmp_path_factory.mktemp("world") / "small"
    collection = make_collection(path, [40 + i for i in range(58)] + [5, 9], front_end="vggish")
    generator = np.random.default_rng(7)
    lists = [
        np.sort(generator.choice(60, generator.integers(3, 9), replace=False)) for _ in range(20)
    ]
    groups = TrackGroups.from_lists(
        "playlists", lists, tracks=60, collection_key=collection.content_key
    )
    groups.save(groups_path(path, "playlists"))
    artists = TrackGroups.from_lists(
        "artists",
        [range(first, first + 2) for first in range(0, 60, 2)],
        tracks=60,
        collection_key=collection.content_key,
    )
    artists.save(groups_path(path, "artists"))
    return path


@pytest.fixture(scope="session")
def probed_world(make_collection, tmp_path_factory):
    """Collection of 160 tracks in 40 albums of four, of which a quarter can be held out.

    The tracks of an album are louder in a band of its own, so that there is something to learn.
    Two artists have half of the albums each.
    """
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path

    path, rng = tmp_path_factory.mktemp("probed") / "probed", np.random.default_rng(11)
    mels = [rng.normal(0, 1, (40 + track % 7, 64)).astype(np.float32) for track in range(160)]
    for track, mel in enumerate(mels):
        mel[:, track // 4] += 2
    collection = make_collection(path, mels, front_end="vggish")
    albums = TrackGroups.from_lists(
        "playlists", [range(first, first + 4) for first in range(0, 160, 4)], tracks=160,
        collection_key=collection.content_key,
    )  # fmt: skip
    albums.save(groups_path(path, "playlists"))
    artists = TrackGroups.from_lists(
        "artists", [range(80), range(80, 160)], tracks=160, collection_key=collection.content_key
    )
    artists.save(groups_path(path, "artists"))
    return path


@pytest.fixture(scope="session")
def probed_command_line(probed_world):
    """Callable: the arguments of a run of five epochs, a probe after each, into a folder."""
    return lambda out: [
        "--collection", str(probed_world), "--out", str(out), "--frames", "16",
        "--width", "0.05", "--batch", "6", "--epochs", "5", "--warmup-steps", "2",
        "--learning-rate", "1e-3", "--probe-share", "0.25", "--quiet",
    ]  # fmt: skip


@pytest.fixture
def probed_arguments(probed_command_line, tmp_path):
    """Command line of such a run, of ten steps an epoch."""
    return probed_command_line(tmp_path / "run")


@pytest.fixture(scope="session")
def command_line(small_world):
    """Callable: the arguments of a run of three epochs, which takes seconds, into a folder."""
    return lambda out: [
        "--collection", str(small_world), "--out", str(out), "--frames", "16",
        "--width", "0.05", "--batch", "6", "--epochs", "3", "--warmup-steps", "2",
        "--learning-rate", "1e-3", "--quiet",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def tagged_world(tmp_path_factory, make_collection):
    """Collection of 48 tracks and its tags.tsv: a class has bands of its own, a little louder.

    Windows of 16 frames are enough. Tracks have 20 to 67 frames; ``rare`` is the tag of one
    training track and of no other.
    """
    path, rng = tmp_path_factory.mktemp("tagged") / "tagged", np.random.default_rng(3)
    classes = ["low", "middle", "high"]
    splits = ["train"] * 24 + ["validation"] * 12 + ["test"] * 12
    mels, lines = [], ["track_id\tsplit\ttags"]
    for track, split in enumerate(splits):
        tags = [name for name in classes if rng.random() < 0.5] or [classes[track % 3]]
        mels.append(rng.normal(0, 1, (20 + track, 64)).astype(np.float32))
        for place, name in enumerate(classes):
            mels[-1][:, place * 20 : place * 20 + 20] += 0.5 * (name in tags)
        lines.append(f"t{track:02d}\t{split}\t{'|'.join(tags + ['rare'] * (track == 0))}")
    ids = [f"t{track:02d}" for track in range(48)]
    make_collection(path, mels, "vggish", ids=ids, per_shard=48, seconds=0.2)
    (path / "tags.tsv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def tagging_command_line(tagged_world):
    """Callable: the arguments of a fine-tuning of two runs of four epochs, into a folder."""
    return lambda out: [
        "--collection", str(tagged_world), "--out", str(out), "--frames", "16",
        "--width", "0.05", "--batch", "8", "--epochs", "4", "--runs", "2", "--quiet",
        "--low-learning-rate", "1e-3", "--high-learning-rate", "1e-2",
    ]  # fmt: skip


@pytest.fixture
def tagging_arguments(tagging_command_line, tmp_path):
    """Command line of such a fine-tuning."""
    return tagging_command_line(tmp_path / "tagger")


@pytest.fixture
def arguments(command_line, tmp_path):
    """Command line of such a run."""
    return command_line(tmp_path / "run")


@pytest.fixture(scope="session")
def finished_once(command_line, tmp_path_factory):
    """Such a run, and what it said; not to be changed."""
    from playlist_pretrain.cli import pretrain

    out = tmp_path_factory.mktemp("finished") / "run"
    loud = [word for word in command_line(out) if word != "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert pretrain.main(loud) == 0
    return out, told.getvalue()


@pytest.fixture
def finished(finished_once, arguments):
    """A finished run where the arguments want theirs."""
    from playlist_pretrain.runs import Run

    return Run(shutil.copytree(finished_once[0], arguments[arguments.index("--out") + 1]))


@pytest.fixture
def run_whole(tmp_path):
    """Callable: the run of a command line that nothing stopped, in a folder of its own."""
    from playlist_pretrain.cli import pretrain
    from playlist_pretrain.runs import Run

    def run(arguments):
        out = arguments.index("--out")
        arguments = [*arguments[:out], *arguments[out + 2 :], "--out", str(tmp_path / "whole")]
        assert pretrain.main(arguments) == 0
        return Run(tmp_path / "whole")

    return run


@pytest.fixture
def resumed():
    """Callable: the run of a command line that stopped after a step and went on."""
    from playlist_pretrain.cli import pretrain
    from playlist_pretrain.runs import Run

    def run(arguments, stop_at):
        arguments = [*arguments, "--checkpoint-steps", "2"]
        with after_step(stop_at, power_cut), pytest.raises(Stop):
            pretrain.main(arguments)
        assert pretrain.main(arguments) == 0
        return Run(arguments[arguments.index("--out") + 1])

    return run


@pytest.fixture
def assert_same():
    """Callable: whether two runs wrote the same but for what the clock says, to the last bit."""
    from playlist_pretrain.models.load import load_backbone
    from playlist_pretrain.training.engine import read_history
    from playlist_pretrain.training.pretrain import COLUMNS

    columns = [name for name in COLUMNS if "second" not in name]

    def compare(*runs):
        one, other = (
            [[row[n] for n in columns] for row in read_history(r.history, COLUMNS)] for r in runs
        )
        assert one == other
        models = [load_backbone(run.saved_model).model.get_weights() for run in runs]
        for left, right in zip(*models, strict=True):
            np.testing.assert_array_equal(left, right)

    return compare
