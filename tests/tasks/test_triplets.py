"""Tables of triplets: who is the positive, what is a clip, and tables that cannot be read."""

import numpy as np
import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.tasks.triplets import Clip, read_triplets

DIM_SIM = (
    "anchor_id,anchor_start_seconds,song1_id,song1_start_seconds,song2_id,song2_start_seconds,"
    "song1_vote"
)
OWN = "anchor,positive,negative"


@pytest.fixture
def table(tmp_path):
    """Callable: write lines, or bytes, as a table and give its path."""

    def write(*lines):
        path = tmp_path / "t.csv"
        content = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode()
        path.write_bytes(content)
        return path

    return write


def named(triplets):
    """Clips of each triplet, as written in messages."""
    return [tuple(str(triplets.clips[clip]) for clip in row) for row in triplets.rows]


@pytest.mark.parametrize(
    "text",
    [
        "votes,anchor,positive,negative\r\n3,a,b/ö,c\r\n1,c,b/ö,a\r\n",
        "\ufeffnegative\tanchor\tpositive\nc\ta\tb/ö\n\na\tc\tb/ö",
        'anchor;positive;negative\n"a";"b/ö";"c"\nc;b/ö;a\n',
    ],
)
def test_own_tables(table, text):
    triplets = read_triplets(table(text.encode()))
    assert triplets.clips == (Clip("a"), Clip("b/ö"), Clip("c"))
    np.testing.assert_array_equal(triplets.rows, [[0, 1, 2], [2, 1, 0]])
    assert triplets.rows.dtype == np.int32
    assert not triplets.has_starts and not triplets.dim_sim and triplets.agreement is None
    assert len(triplets) == 2 and triplets.named.tolist() == [0, 1, 2]


def test_the_first_song_is_the_positive_where_its_vote_says_so(table):
    path = table(DIM_SIM, "a,0,b,3.5,c,27,1", "a,0,b,3.5,c,27,0", "a,0,b,3.50,c,27.0,1.0")
    triplets = read_triplets(path)
    first = ("'a' at 0 s", "'b' at 3.5 s", "'c' at 27 s")
    assert named(triplets) == [first, (first[0], first[2], first[1]), first]
    assert triplets.lines.tolist() == [2, 3, 4] and triplets.dim_sim
    assert len(triplets.clips) == 3 and triplets.agreement is None


def test_numbers_of_votes_decide_and_give_an_agreement(table):
    votes = ["5,0", "1,4", "2,1", "1,0", "0.25,0.75"]
    lines = [f"a,0,b,1,c,2,{vote}" for vote in votes]
    triplets = read_triplets(table(f"{DIM_SIM},song2_vote", *lines))
    positives = [row[1] for row in named(triplets)]
    assert [text[1] for text in positives] == ["b", "c", "b", "b", "c"]
    np.testing.assert_allclose(triplets.agreement, [1, 0.8, 2 / 3, 1, 0.75])


def test_own_starts_and_agreement(table):
    header = f"{OWN},agreement,negative_start_seconds,anchor_start_seconds,positive_start_seconds"
    triplets = read_triplets(table(header, "a,a,b,0.75,1,2,3", "a,b,a,1,1,2,4"))
    assert named(triplets) == [
        ("'a' at 2 s", "'a' at 3 s", "'b' at 1 s"),
        ("'a' at 2 s", "'b' at 4 s", "'a' at 1 s"),
    ]
    assert triplets.agreement.tolist() == [0.75, 1]


def test_without_some_clips(table):
    triplets = read_triplets(table(f"{OWN},agreement", "a,b,c,0.6", "d,e,a,0.7", "d,e,f,0.8"))
    left = triplets.without([triplets.clips.index(Clip("b")), triplets.clips.index(Clip("f"))])
    assert named(left) == [("'d'", "'e'", "'a'")]
    assert left.lines.tolist() == [3] and left.agreement.tolist() == [0.7]
    assert left.clips == triplets.clips and left.key != triplets.key
    assert len(triplets.without(range(6))) == 0 and named(triplets.without([])) == named(triplets)


def test_the_key_says_what_was_read_and_not_how_it_is_written(table):
    one = read_triplets(table(DIM_SIM, "a,0,b,1,c,2,1")).key
    assert read_triplets(table(DIM_SIM.replace(",", "\t"), "a\t0.0\tb\t1\tc\t2\t1")).key == one
    assert read_triplets(table(DIM_SIM, "a,0,b,1,c,2,0")).key != one
    assert read_triplets(table(DIM_SIM, "a,0,b,1,c,2.5,1")).key != one


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "the file is empty"),
        (b"anchor,x\n", "no column 'positive', 'negative'; its columns are: 'anchor', 'x'; needed "
         "are anchor, positive, negative, or anchor_id, anchor_start_seconds, song1_id"),
        (b"anchor_id,song1_id,song2_id,song1_vote\n", "no column 'anchor_start_seconds'"),
        (OWN.encode() + b"\n", "a header and no rows"),
        (OWN.encode() + b"\na,b,c\na,c,a\n", "line 3: a track is named twice: 'a'"),
        (OWN.encode() + b",anchor_start_seconds\na,b,c,1", "column 'anchor_start_seconds', but no "
         "'positive_start_seconds', 'negative_start_seconds'"),
        (OWN.encode() + b",agreement\na,b,c,1.01", "line 2: column 'agreement': '1.01' is not a "
         "number from 0 to 1"),
        (OWN.encode() + b",agreement\na,b,c,", "line 2: column 'agreement' is empty"),
    ],
)  # fmt: skip
def test_refuses(table, content, word):
    path = table(content)
    with pytest.raises(TableError, match=word) as refused:
        read_triplets(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("a,0,b,1,c,2,2", "song1_vote '2': 1 says .* need a column 'song2_vote'"),
        ("a,0,b,1,c,2,-1", "column 'song1_vote': '-1' is not a number from 0 to 1,000,000,000"),
        ("a,0,b,1,c,2, ", "column 'song1_vote' is empty"),
        (
            "a,-0.5,b,1,c,2,1",
            "column 'anchor_start_seconds': '-0.5' is not a number from 0 to 1,000,000",
        ),
        ("a,0,b,inf,c,2,1", "column 'song1_start_seconds': 'inf' is not a number"),
        ("a,0,b,1,c,,1", "column 'song2_start_seconds' is empty"),
        ("a,0,b,1,c,2,2,2", "song1_vote and song2_vote are both 2"),
        ("a,0,b,1,c,2,3,", "column 'song2_vote' is empty"),
        ("a,0,b,1,c,2,3,-1", "column 'song2_vote': '-1'"),
        ("a,0,b,1,b,1,0", "an excerpt is named twice: 'b' at 1 s"),
    ],
)
def test_refuses_lines_of_dim_sim(table, line, word):
    header = f"{DIM_SIM},song2_vote" if line.count(",") == 7 else DIM_SIM
    path = table(header, "a,0,b,1,c,2,3,1" if header != DIM_SIM else "a,0,b,1,c,2,1", line)
    with pytest.raises(TableError, match=rf"t\.csv: line 3: {word}"):
        read_triplets(path)


def test_the_header_of_dim_sim_itself(table):
    songs = ("anchor", "song1", "song2")
    parts = ("id", "start_seconds", "start_samples")
    header = ["triplet_id", *(f"{song}_{part}" for song in songs for part in parts)]
    header += ["sampling_rate", "clip_lengths_seconds", "clip_lengths_samples"]
    lines = [",".join([*header, "song1_vote", "song2_vote"])]
    lines += [
        "0,a,1.5,24000,b,0,0,c,3,48000,16000,3,48000,4,1",
        "1,a,0,0,c,0,0,b,0,0,16000,3,48000,0,5",
    ]
    triplets = read_triplets(table("sep=,", *lines))
    assert named(triplets) == [
        ("'a' at 1.5 s", "'b' at 0 s", "'c' at 3 s"), ("'a' at 0 s", "'b' at 0 s", "'c' at 0 s"),
    ]  # fmt: skip
    assert triplets.agreement.tolist() == [0.8, 1.0] and triplets.dim_sim
