"""The map page in a browser: seen, heard, by pointer and by keyboard, wide and narrow."""

from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from playlist_pretrain.evaluation.neighbours import nearest
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.map_page.page import write_map_page

pytestmark = pytest.mark.slow

STYLES = ["ambient", "techno", "folk", "free jazz"]
TRACKS = 48
ODD_NAME = "loud #1?/50% + é.wav"  # the audio file of every track but the last two


def world(path, **change):
    """Write a page of four styles, and say what it is made of."""
    rng = np.random.default_rng(7)
    style = np.arange(TRACKS) % 4
    vectors = rng.normal(size=(4, 12))[style] + 0.7 * rng.normal(size=(TRACKS, 12))
    ids = [f"track/{i:03d}" for i in range(TRACKS)]
    paths = [ODD_NAME] * (TRACKS - 2) + ["missing.wav", "../outside.wav"]
    given = {"ids": ids, "paths": paths, "titles": None, "labels": {
        "artist": {track: f"Artist {i % 9}" for i, track in enumerate(ids)},
        "style": {track: [STYLES[style[i]], "Músic"] for i, track in enumerate(ids)},
    }} | change  # fmt: skip
    table = EmbeddingTable(
        PackedStrings.pack(given["ids"]),
        vectors.astype(np.float32),
        paths=given["paths"] and PackedStrings.pack(given["paths"]),
        about={"audio": str(path.parent / "audio"), "model": "runs/<b>demo</b>"},
    )
    write_map_page(path, table, labels=given["labels"], titles=given["titles"])
    sound = path.parent / "audio" / ODD_NAME
    sound.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(sound, 0.1 * np.sin(np.arange(80_000) * 0.17), 16_000)
    found = nearest(table.vectors)
    return SimpleNamespace(path=path, table=table, found=found, sound=sound, **given)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return world(tmp_path_factory.mktemp("map") / "map.html")


def eventually(page, condition):
    """Wait for it. What Playwright has for that needs ``eval`` in the page, which that forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {condition}")


def screen(page):
    """Where each track is in the window [tracks, 2], worked out from the ranges of the axes."""
    x, y, left, top, width, height = page.evaluate("""() => {
        const map = Bokeh.documents[0].get_model_by_name("map");
        const { x, y } = map.document.get_model_by_name("points").data_source.data;
        const box = plot.view.el.getBoundingClientRect();
        const { left, top, width, height } = plot.view.frame.bbox;
        const part = (values, { start, end }) =>
            Array.from(values, (value) => (value - start) / (end - start));
        return [part(x, map.x_range), part(y, map.y_range),
                box.left + left, box.top + top, width, height];
    }""")
    return np.stack([left + width * np.array(x), top + height * (1 - np.array(y))], axis=1)


def rows(page, what):
    return page.eval_on_selector_all(f"#{what} button", "all => all.map((b) => +b.dataset.row)")


def lonely(places):
    """The track that is farthest from any other, so that a click can only mean it."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return int(np.argmax(apart[: TRACKS - 2].min(axis=1)))


def test_a_click_plays_the_track_and_lists_the_nearest(opened, written):
    with opened(written.path) as page:
        places = screen(page)
        row = lonely(places)
        page.mouse.move(*places[row])
        page.wait_for_selector("#tip", state="visible")
        assert written.ids[row] in page.inner_text("#tip")
        page.mouse.click(*places[row])
        eventually(page, "audio.currentTime > 0")
        assert unquote(page.evaluate("audio.src")) == f"file://{written.sound}"
        assert page.inner_text("#message") == ""
        assert written.ids[row] in page.inner_text("#track")
        assert rows(page, "neighbours") == written.found.rows[row].tolist()
        similarities = page.locator("#neighbours .figure").all_inner_texts()
        assert similarities == [f"{value:.4f}" for value in written.found.similarities[row]]
        ringed = 'Bokeh.documents[0].get_model_by_name("near").data_source.get_length()'
        assert page.evaluate(ringed) == 10
        following = written.found.rows[row][3]
        page.locator("#neighbours button").nth(3).click()
        assert rows(page, "neighbours") == written.found.rows[following].tolist()
        assert page.locator("#track dd").first.inner_text() == written.ids[following]


@pytest.mark.long
def test_search_and_colours(opened, written):
    data = 'Bokeh.documents[0].get_model_by_name("points").data_source.data'
    with opened(written.path) as page:
        assert page.inner_text("#matching") == "48 tracks"
        assert len(set(page.evaluate(f"{data}.color"))) == 7  # of nine artists
        assert set(page.evaluate(f"{data}.marker")) == {"circle", "triangle"}
        for query, expected in [
            ("FOLK", range(2, 48, 4)), ("track/00", range(10)), ("  ", range(48)), ("nothing", []),
            ("music techno 00", [1, 5, 9]), ("<b>", []), ("folk 004", []),
        ]:  # fmt: skip
            page.fill("#search", query)
            shown = [] if len(expected) == 48 else list(expected)
            assert rows(page, "matches") == shown
            alphas = np.array(page.evaluate(f"{data}.alpha"))
            assert np.flatnonzero(alphas > 0.2).tolist() == list(expected)
        assert page.inner_text("#matching") == "0 of 48 tracks match"
        page.fill("#search", "")
        page.select_option("#label", label="style")
        assert page.locator("#values bdi").all_inner_texts() == ["Músic", *sorted(STYLES)]
        page.get_by_role("button", name="techno 12").click()
        assert rows(page, "matches") == list(range(1, 48, 4))
        colours = page.evaluate(f"{data}.color")
        assert len(set(colours[1::4])) == 1 and colours[1] not in colours[::2]
        page.get_by_role("button", name="techno 12").click()
        assert page.inner_text("#matching") == "48 tracks"
        assert len(set(page.evaluate(f"{data}.color"))) == 4


@pytest.mark.long
def test_with_the_keyboard_alone(opened, written):
    focused = "document.activeElement"
    with opened(written.path) as page:
        page.keyboard.press("Tab")
        assert page.evaluate(f"{focused}.id") == "search"
        page.keyboard.type("folk")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(f"{focused}.dataset.row") == "6"
        assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
        assert "track/006" in page.inner_text("#tip")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        assert page.evaluate(f"{focused}.id") == "search"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        assert page.evaluate(f"{focused}.dataset.row") == "46"  # whose audio is missing
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        assert page.locator("[aria-current=true]").get_attribute("data-row") == "2"
        eventually(page, "audio.currentTime > 0")
        for _ in range(12):  # past the controls of the audio
            page.keyboard.press("Tab")
            if page.evaluate(f"{focused}.closest('#neighbours') !== null"):
                break
        page.keyboard.press("ArrowDown")
        following = written.found.rows[2][1]
        assert page.evaluate(f"{focused}.dataset.row") == str(following)
        page.keyboard.press("Enter")
        assert rows(page, "neighbours") == written.found.rows[following].tolist()
        assert page.evaluate(f"{focused}.dataset.row") == str(written.found.rows[following][0])
        page.keyboard.press("Escape")
        assert page.evaluate(f"[{focused}.id, {focused}.value]") == ["search", ""]
        assert page.is_hidden("#found") and page.is_visible("#nearest")
        page.keyboard.press("Escape")
        assert page.is_hidden("#nearest") and page.evaluate("audio.paused")


@pytest.mark.long
def test_what_cannot_be_played_is_said(opened, written, tmp_path):
    with opened(written.path) as page:
        page.fill("#search", "track/046")
        page.keyboard.press("Enter")
        eventually(page, "message.textContent !== ''")
        assert page.inner_text("#message").startswith("Cannot be played: audio/missing.wav is not")
        page.fill("#search", "track/047")
        page.keyboard.press("Enter")
        assert page.inner_text("#message") == "No audio file of this track is linked."
        assert page.is_hidden("#audio")
    silent = world(tmp_path / "map.html", paths=None, labels={})
    with opened(silent.path) as page:
        assert page.is_hidden("#legend") and page.is_hidden("#label")
        page.fill("#search", "track/001")
        page.keyboard.press("Enter")
        assert page.inner_text("#message") == "No audio."


@pytest.mark.long
def test_a_narrow_screen(opened, tmp_path):
    ids = [f"{i}" + "x" * 150 for i in range(TRACKS)]
    labels = {"y" * 150: {track: ["z" * 150, track] for track in ids}}
    narrow = world(tmp_path / "map.html", ids=ids, labels=labels)
    with opened(narrow.path, {"width": 400, "height": 800}, has_touch=True) as page:
        page.fill("#search", "1x")
        page.keyboard.press("Enter")
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths == [400, 400]
        boxes = [page.locator(f"#{part}").bounding_box() for part in ("plot", "found", "nearest")]
        assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"] < boxes[2]["y"]
        assert boxes[0]["width"] > 380 and boxes[0]["height"] > 280
        places = screen(page)
        assert (places.min(axis=0) > 0).all() and places[:, 0].max() < 400
        row = lonely(places)
        page.touchscreen.tap(*places[row])
        eventually(page, "!tip.hidden")
        assert page.locator("#track dd").first.inner_text() == ids[row]


@pytest.mark.long
def test_text_of_anybody_is_shown_and_never_run(opened, tmp_path):
    hostile = [
        "</script><script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 1'>",
        '" onfocus="window.ran = 1" \'`${window.ran = 1}',
        "&lt;b&gt; <svg onload=window.ran=1>",
        "👩‍👩‍👧 שלום",
    ]
    ids = [hostile[i % 5] + str(i) for i in range(TRACKS)]
    everywhere = {
        "ids": ids,
        "labels": {text: {track: [text, track] for track in ids} for text in hostile},
        "titles": {track: track for track in ids},
    }
    page_of = world(tmp_path / "map.html", **everywhere)
    # Without the policy of the page, so that nothing but how the text is put in is tried.
    with opened(page_of.path, bypass_csp=True) as page:
        for text in hostile:
            page.fill("#search", text)
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
            row = rows(page, "matches")[0]
            assert page.locator("#track dd").first.evaluate("e => e.textContent") == ids[row]
            assert ids[row] in page.locator("#tip").evaluate("e => e.textContent")
        for choice in range(len(hostile)):
            page.select_option("#label", index=choice)
        assert page.evaluate("window.ran") is None
        assert page.locator("main img, main svg").count() == 0
