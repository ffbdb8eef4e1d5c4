"""Tag tables: given splits, splits at random, notes, and tables that cannot be used."""

import dataclasses

import pytest
from refusal import refused

from playlist_pretrain.errors import PlaylistPretrainError, TableError, TaskError
from playlist_pretrain.storage import location, upload
from playlist_pretrain.tasks import SPLITS, TaskSettings, read_task


@pytest.fixture
def write(tmp_path):
    """Callable: write a table with commas and give the settings that lead to it."""

    def write(text, **others):
        file = tmp_path / "mine.csv"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return TaskSettings(tags=str(file), **others)

    return write


GIVEN = "track_id,split,tags\na,train,x|y\nb,validation,y\nc,test,x|y\nd,train,z\n"


def test_columns_in_any_order_blanks_and_quotes(write):
    text = 'tags,more,split,track_id\n" y | x ",,train,a\nx,1,test,"b,c"\n\n,2,validation,"ü d"\n'
    task = read_task(write(text))
    assert task.name == "tags mine.csv" and task.classes == ("x", "y")
    assert task.train.track_ids == ("a",) and task.train.targets.tolist() == [[True, True]]
    assert task.test.track_ids == ("b,c",) and task.validation.track_ids == ("ü d",)
    assert task.validation.targets.tolist() == [[False, False]]


def test_notes_name_classes_that_train_or_test_lacks_and_tracks_without_tags(write):
    task = read_task(write(GIVEN + "e,test,new\nf,validation,\n"))
    assert task.classes == ("new", "x", "y", "z")
    assert task.notes == (
        "4 classes; tracks: train 2, validation 2, test 2",
        "tracks without any tag: 1",
        "no track of train has 'new': left out of the figures",
        "no track of test has 'z': left out of the figures",
    )


def test_a_column_of_another_name_says_the_split(write):
    task = read_task(write(GIVEN.replace("split", "side"), split_column="side"))
    assert task.test.track_ids == ("c",)
    refused(
        write(GIVEN, split_column="side"), TaskError, "'side' (--split-column)", "'split', 'tags'"
    )


def test_artists_on_two_sides_of_a_given_split_are_noted(write):
    rows = zip(GIVEN.splitlines(), ["artist", "A", "B", "A", ""], strict=True)
    task = read_task(write("\n".join(map(",".join, rows)) + "\n"))
    assert task.notes[1] == (
        "1 of 2 artists are in two splits or more, which flatters the figures: 'A'"
    )
    rows = zip(GIVEN.splitlines(), ["artist", "A", "B", "C", "A"], strict=True)
    assert read_task(write("\n".join(map(",".join, rows)))).notes[1] == "no artist is in two splits"


def table(artists, column):
    rows = [f"track {i},{artist},x|y\n" for i, artist in enumerate(artists)]
    return f"track_id,{column},tags\n" + "".join(rows)


@pytest.mark.parametrize("column", ["artist", "artist_id"])
def test_without_a_split_whole_artists_are_split(write, column):
    artists = [f"artist {i // 5}" for i in range(100)]
    task = read_task(write(table(artists, column), split_seed=3))
    assert task.notes[1] == (
        "split at random with seed 3, by artist (20 artists), none on two sides"
    )
    sides = {}
    for name, split in task.splits().items():
        for track_id in split.track_ids:
            sides.setdefault(artists[int(track_id.split()[1])], set()).add(name)
    assert len(sides) == 20 and all(len(names) == 1 for names in sides.values())
    assert [len(task.splits()[name]) for name in SPLITS] == [80, 10, 10]


@pytest.mark.parametrize("cell", ["", "  ", "unknown", "<Unknown>", "Various  Artists", "n/a", "-"])
def test_tracks_whose_artist_is_not_known_are_split_one_by_one(write, cell):
    artists = [cell if i % 2 else f"artist {i // 10}" for i in range(200)]
    task = read_task(write(table(artists, "artist")))
    assert task.notes[1:3] == (
        "split at random with seed 0, by artist (20 artists), none on two sides",
        "tracks split one by one, their artist being empty, unknown, various or the like: 100 of "
        "200; an artist of theirs may be on two sides",
    )
    assert [len(task.splits()[name]) for name in SPLITS] == [160, 20, 20]
    sides = {artist: set() for artist in artists}
    for name, split in task.splits().items():
        for track_id in split.track_ids:
            sides[artists[int(track_id.split()[1])]].add(name)
    assert len(sides.pop(cell)) == 3 and all(len(names) == 1 for names in sides.values())
    given = "track_id,split,artist,tags\n" + "".join(
        f"{i},{SPLITS[i]},{cell},x\n" for i in range(3)
    )
    assert read_task(write(given)).notes[1] == "no artist is in two splits"


def test_without_artists_tracks_are_split_and_the_note_warns(write):
    text = "track_id,tags\n" + "".join(f"t{i},x\n" for i in range(50))
    task = read_task(write(text))
    assert task.notes[1] == (
        "split at random with seed 0, track by track: an artist may be on two sides"
    )
    assert [len(task.splits()[name]) for name in SPLITS] == [40, 5, 5]
    other = read_task(write(text, split_seed=1))
    assert set(other.test.track_ids) != set(task.test.track_ids)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a,train,x|y", "a,training,x|y", ["line 2", "'training' is none of train, validation, t"]),
        ("a,train,x|y", "a,,x|y", ["line 2", "'split' is empty"]),
        ("a,train,x|y", ",train,x|y", ["line 2", "'track_id' is empty"]),
        ("a,train,x|y", "a,train,x||y", ["line 2", "empty tag in 'x||y'"]),
        ("a,train,x|y", "a,train,x|y|x", ["line 2", "'x' is there twice"]),
        ("a,train,x|y", "a,train", ["line 2", "2 cells, the header has 3"]),
        ("a,train,x|y", 'a,train,"x|y', ["line 2"]),
        ("d,train,z", "a,train,z", ["line 5", "track 'a' is in line 2 already", "one row"]),
        ("d,train,z", "\x1b[2J,wild,z", ["line 5", "'wild'"]),
        (",tags", ",tag", ["no column 'tags'", "with | between"]),
        ("split,tags", "split,split,tags", ["more than one column 'split'"]),
        ("c,test,x|y\n", "", ["no track is in split 'test'"]),
    ],
)
def test_tables_that_cannot_be_used(write, old, new, words):
    assert old in GIVEN
    refused(write(GIVEN.replace(old, new)), PlaylistPretrainError, *words)


SPLIT = "track_id,split,tags\n"


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (SPLIT + "a,train,\nb,test,\nc,validation, \n", {}, ["no track has a tag"]),
        (SPLIT + "a,train,x\nb,test,y\nc,validation,x\n", {},
         ["no class has tracks in both train and test", "'x'"]),
        (GIVEN, {"split_seed": 4}, ["--split-seed 4", "'split'"]),
        (table(["A", "B"] * 9, "artist"), {}, ["no column 'split'", "2 artists"]),
        ("track_id,tags\na,x\nb,x\n", {}, ["no column 'split'", "2 tracks"]),
    ],
)  # fmt: skip
def test_tables_that_make_no_task(write, text, settings, words):
    refused(write(text, **settings), PlaylistPretrainError, *words)


def test_a_column_of_anything_but_tags(write):
    rows = "".join(f"t{i},{'train' if i % 2 else 'test'},text {i:05d}\n" for i in range(10_001))
    refused(
        write("track_id,split,tags\n" + rows + "v,validation,\n"),
        TaskError, "10,001 different tags", "'text 00000'",
    )  # fmt: skip


def test_a_table_behind_a_url(write):
    settings = write(GIVEN)
    url = "memory://tags/mine.tsv"
    upload(settings.tags, location(url))
    task = read_task(dataclasses.replace(settings, tags=url))
    assert task.name == "tags mine.tsv" and task.test.track_ids == ("c",)
    with pytest.raises(PlaylistPretrainError, match="memory://tags/other"):
        read_task(dataclasses.replace(settings, tags="memory://tags/other.tsv"))
    upload(write(GIVEN.replace("train", "wild")).tags, location(url))
    with pytest.raises(TableError, match=r"memory://tags/mine\.tsv: line 2: .*'wild'"):
        read_task(dataclasses.replace(settings, tags=url))
