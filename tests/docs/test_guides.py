"""The commands of pages and helps, run in their order: they work, and leave what was promised.

Each in an environment that has what its page names (``follow``).
"""

import re
import shutil

import pytest
from homes import MODEL
from pages import BESIDE, PAGES, extras_of, help_of, steps, steps_of, text_of
from remote_server import variables

from playlist_pretrain.__main__ import VERBS
from playlist_pretrain.records.collection import Collection

STAGE = {
    "README.md": "bare",
    "docs/index.md": "bare",
    "docs/platforms.md": "bare",
    "docs/benchmarks.md": "bare",
    "docs/guides/make_tfrecords.md": "bare",
    "docs/guides/import_mels.md": "bare",
    "docs/guides/tables.md": "bare",
    "docs/guides/match_playlists.md": "collection",
    "docs/guides/check_collection.md": "groups",
    "docs/guides/pretrain.md": "groups",
}
"""Stage at which the reader of a page is; those of other pages find everything made."""
DEMO_RUN, MINE = "runs/demo-playlist_co-vggish/saved_model", "tfrecords/mine"
PROMISED = {
    "README.md": [DEMO_RUN, f"{MODEL}/saved_model", "map.html", "longer.m3u8"],
    "docs/index.md": [DEMO_RUN, "songs/**/*.wav"],
    "docs/platforms.md": [DEMO_RUN],
    "docs/guides/import_mels.md": ["runs/melon-playlist_co-vggish/saved_model"],
    "docs/guides/match_playlists.md": [
        f"{MINE}/{kind}-*" for kind in ("groups", "tco", "w2v", "figures")
    ],
    "docs/guides/check_collection.md": [f"{MINE}/figures/collection.png"],
    "docs/guides/finetune.md": [
        "runs/mine-tags-mine-playlist_co-vggish/predictions",
        "runs/try-tags/run-1/saved_model",
    ],
    "docs/guides/similarity.md": [
        f"runs/{kind}-similarity-mine-playlist_co-vggish{more}/{file}"
        for kind, more in (("previews", "+2"), ("mine", ""))
        for file in ("results.md", "results.csv", "results.json", "per_triplet.csv")
    ],
    "docs/guides/embed.md": ["mine.npy", "windows.npy", "projector/metadata.tsv"],
    "docs/guides/search.md": ["map.html", "longer.m3u8"],
}
"""Patterns of files that a page leaves."""
ALONE = [f"docs/guides/{verb}.md" for verb in ("make_tfrecords", "pretrain", "tables", "export")]
ELSEWHERE = ("docs/extending/", "docs/python.md")
"""Pages whose Python is files to write, or examples: test_extending.py and test_python.py."""
FOLLOWED = [
    page
    for page in PAGES + BESIDE
    if steps(page) and page not in ALONE and not page.startswith(ELSEWHERE)
]


@pytest.mark.long
@pytest.mark.parametrize("page", FOLLOWED)
def test_follow(page, home_at, demo, follow):
    home = home_at(STAGE.get(page, "model"), demo)
    if page == "docs/guides/search.md":
        (home / "music" / "song.wav").symlink_to("t0.wav")
    follow(steps(page), home, extras=extras_of(page))
    for pattern in PROMISED.get(page, ()):
        assert list(home.glob(pattern)), pattern
    for file in home.glob("map.html"):
        assert file.stat().st_size > 1e6  # what it needs to work offline is in it
    if page == "README.md":
        lines = (home / "longer.m3u8").read_text("utf-8").splitlines()
        files = [line for line in lines if not line.startswith("#")]
        assert len(files) == 10 and all((home / file).is_file() for file in files)


@pytest.mark.long
def test_make_tfrecords(home_at, follow, s3_port):
    home, page = home_at("bare"), "docs/guides/make_tfrecords.md"
    follow(steps(page), home, variables(s3_port), extras_of(page))
    assert len(Collection.open(home / "tfrecords" / "mine")) == 12


@pytest.mark.long
def test_pretrain_leaves_what_the_formats_say(home_at, follow):
    home = home_at("groups")
    follow(steps("docs/guides/pretrain.md"), home)
    promised = text_of("docs/formats.md").partition("## Run folder")[2].partition("\n## ")[0]
    names = [name for name in re.findall(r"^\| (.*?) \|", promised, re.M) if "runs/" not in name]
    files = [file for name in names for file in re.findall(r"`([\w./]+)`", name)]
    assert len(files) >= 7
    for run in ("mine-playlist_co-vggish", "try"):
        for file in files:
            assert (home / "runs" / run / file).exists(), file


@pytest.mark.long
def test_tables(home_at, follow):
    page = "docs/guides/tables.md"
    told = {step.text: printed for step, printed in follow(steps(page), home_at("bare"))}
    assert "105 cells" in text_of(page) and "105 cells, 105 to do" in told["make demo-tables"]


@pytest.mark.long
def test_export(home_at, follow):
    home, page = home_at("model"), "docs/guides/export.md"
    done = {step.text: printed for step, printed in follow(steps(page), home)}
    promised = {
        "essentia": ("mine-1.pb", "saved_model/", "mine-1.json", "predict.py",
                     "mine-1-parity.json", "README.md"),
        "serving": ("1/", "rest_client.py", "grpc_client.py", "batching.config", "mine-1.json",
                    "README.md", "mine-1-parity.json"),
    }  # fmt: skip
    for target, names in promised.items():
        for name in names:
            assert f"`{name}`" in text_of(page)
            assert (home / "exports" / target / "mine-1" / name).exists(), name
    (predicted,) = (printed for text, printed in done.items() if "predict.py song.mp3" in text)
    assert "embeddings\n(1, 128)" in predicted
    (docker,) = (step.text for step in steps(page) if "docker run" in step.text)
    card = (home / "exports" / "serving" / "mine-1" / "README.md").read_text("utf-8")
    assert docker.partition("&& ")[2].strip() in card


@pytest.mark.long
@pytest.mark.parametrize("program", [*(f"scripts/{verb}.py" for verb in VERBS), "-m demo"])
def test_examples_of_a_help(program, home_at, demo, follow):
    """Each on its own: what an earlier one made is out of its way."""
    words = ("-m", "playlist_pretrain.demo") if program == "-m demo" else (program,)
    _, _, examples = help_of(words).partition("\nexamples:\n")
    given = steps_of(f"```bash\n{examples}```")
    assert given and all(step.text.startswith("python ") for step in given)
    home = home_at(STAGE.get(f"docs/guides/{program[8:-3]}.md", "model"), demo)
    for step in given:
        out = re.search(r" --out (tfrecords/\S+)", step.text)
        if out and not re.search("--(add|report)", step.text):
            shutil.rmtree(home / out[1], ignore_errors=True)
        if "match_playlists.py --playlists" in step.text:
            (home / "tfrecords" / "mine" / "groups-artists.npz").unlink(missing_ok=True)
        follow([step], home)
