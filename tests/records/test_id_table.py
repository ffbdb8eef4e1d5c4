"""Look-up of track ids, also of ids whose hashes collide."""

import numpy as np
import pytest

from playlist_pretrain.records import schema as id_table
from playlist_pretrain.records.collection import IdTable
from playlist_pretrain.records.schema import PackedStrings, did_you_mean

IDS = ["a", "b/c", "é", "..", "日本", "a ", "x" * 300, *map(str, range(500))]


@pytest.fixture(params=["hashes", "colliding", "all one hash"])
def kind(request, monkeypatch):
    if request.param == "colliding":
        monkeypatch.setattr(id_table, "hash", len, raising=False)
    if request.param == "all one hash":
        monkeypatch.setattr(id_table, "hash", lambda text: 2**63 - 1, raising=False)


def test_every_id_has_its_row_and_no_other_has_one(kind, rng):
    table = IdTable(PackedStrings.pack(IDS))
    wanted = [*IDS, "nobody", "", "B/c", "\udc80", "y" * 300]
    order = rng.permutation(len(wanted))
    rows = table.rows([wanted[i] for i in order])
    assert rows.dtype == np.int32
    assert rows.tolist() == [i if i < len(IDS) else -1 for i in order]
    assert table.rows([]).shape == (0,)
    assert table.rows(["a", "a"]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("63", "063"), ("0063", "063"), ("0", "000"), ("00", "000"), ("07", "7"), ("8", None),
        ("63a", None), ("a", None), ("", None), ("²", None), ("5", None), ("9" * 99, None),
    ],
)  # fmt: skip
def test_an_id_that_lost_its_zeros_is_recognised(wanted, meant):
    table = IdTable(PackedStrings.pack(["063", "000", "7", "0a", "063a", "05", "005", "-7"]))
    assert did_you_mean(wanted, table.rows) == (f" (did you mean {meant!r}?)" if meant else "")
