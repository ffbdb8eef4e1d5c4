"""The guides on training and tables: what they tell a user to type works."""

import re

import pytest
from pages import text_of

GUIDES = "docs/guides"


@pytest.mark.long
def test_pretrain_leaves_what_the_formats_say(home_at, follow):
    home = home_at("groups")
    follow(f"{GUIDES}/pretrain.md", home)
    promised = text_of("docs/formats.md").partition("## Run folder")[2].partition("\n## ")[0]
    names = [name for name in re.findall(r"^\| (.*?) \|", promised, re.M) if "runs/" not in name]
    files = [file for name in names for file in re.findall(r"`([\w./]+)`", name)]
    assert len(files) >= 7
    for run in ("mine-playlist_co-vggish", "try"):
        for file in files:
            assert (home / "runs" / run / file).exists(), file


@pytest.mark.long
def test_finetune(home_at, follow):
    home = home_at("model")
    follow(f"{GUIDES}/finetune.md", home)
    assert (home / "runs" / "mine-tags-mine-playlist_co-vggish" / "predictions").is_dir()
    assert (home / "runs" / "try-tags" / "run-1" / "saved_model").is_dir()


@pytest.mark.long
def test_tables(home_at, follow):
    page = f"{GUIDES}/tables.md"
    told = {step.text: printed for step, printed in follow(page, home_at("bare"))}
    assert "105 cells" in text_of(page) and "105 cells, 105 to do" in told["make demo-tables"]
    shards = [found for text in told for found in re.findall(r"--shard (\d/\d)", text)]
    assert shards == ["1/2", "2/2"]
