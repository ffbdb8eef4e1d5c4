"""The report in a browser: wide, narrow and on paper, with text of anybody in it."""

import json
import shutil
from types import SimpleNamespace

import pytest
from finished_cells import leave_all
from tiny_plan import PLAN

from playlist_pretrain.experiments.cells import State, cells_of
from playlist_pretrain.experiments.collect import Collected
from playlist_pretrain.experiments.plan import read_plan
from playlist_pretrain.experiments.report.page import write_report

HOSTILE = "</script><script>window.ran=1</script><img src=x onerror=window.ran=1>"
FORMULA = "$$x$$"
LONG = "w" * 150
LOST = "pretrain/seed-0/vggish-simclr"


@pytest.fixture(scope="module")
def written(tiny_collection, tmp_path_factory):
    """A report of cells with hostile names, one of which failed; the paths and what is in it."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(tiny_collection, folder / "collection")
    tags = folder / "collection" / "tags.tsv"
    text = tags.read_text().replace("high", HOSTILE).replace("low", f"{LONG}{FORMULA}")
    tags.write_text(text)
    text = PLAN.format(collection=folder / "collection", more="")
    text = text.replace("Made of noise.", f"About <b>nothing</b> {LONG} {HOSTILE}")
    text = text.replace('"tags & more"', json.dumps(f"tags {HOSTILE} {LONG}"))
    text = text.replace('["artist_co"', '["simclr", "artist_co"')
    text = text.replace("runs = 2", "runs = 4")
    (folder / "plan.toml").write_text(text)
    plan = read_plan(folder / "plan.toml")
    state, cells = State(folder / "out"), cells_of(plan)
    leave_all(
        plan, state, classes=(HOSTILE, FORMULA, LONG, f"a\n{LONG}", "\u202eback"),
        without=[cell.id for cell in cells if cell.row.start == "simclr"],
    )  # fmt: skip
    state.fail(next(cell for cell in cells if cell.id == LOST), f"no disk {HOSTILE}")
    collected = Collected(plan, cells, state)
    collected.write()
    document = json.loads((state.out / "tables.json").read_text("utf-8"))
    return SimpleNamespace(path=write_report(collected), document=document)


def overflows(page):
    """What is wider than the window without a box of its own to scroll in."""
    return page.evaluate("""() => [...document.querySelectorAll("body *")].filter((one) =>
        !one.closest(".scroll") && one.getBoundingClientRect().right > innerWidth + 0.5
    ).map((one) => one.outerHTML.slice(0, 80))""")


@pytest.mark.long
@pytest.mark.parametrize(
    "viewport", [{"width": 1400, "height": 900}, {"width": 400, "height": 800}]
)
def test_nothing_is_wider_than_the_window_and_every_figure_is_drawn(opened, written, viewport):
    with opened(written.path, viewport) as page:
        width = viewport["width"]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert overflows(page) == []
        count = page.evaluate("JSON.parse(document.getElementById('items').textContent).length")
        figures = page.locator("figure .plot")
        # Curves, tags, two histograms of each of two rows, two maps.
        assert figures.count() == count == 2 + 2 + 1 + 4 + 2
        for number in range(count):
            box = figures.nth(number).bounding_box()
            assert box["height"] > 100 and 200 < box["width"] <= width
        inked = page.evaluate("""() => [...document.querySelectorAll(".plot")].map((place) => {
            const found = [];
            const walk = (node) => {
                if (node instanceof HTMLCanvasElement) found.push(node);
                for (const child of [...node.children, ...(node.shadowRoot?.children ?? [])])
                    walk(child);
            };
            walk(place);
            return Math.max(...found.filter((one) => one.width && one.height).map((one) =>
                new Set(new Uint32Array(one.getContext("2d").getImageData(
                    0, 0, one.width, one.height).data.buffer)).size));
        })""")
        assert all(colours > 5 for colours in inked), inked


@pytest.mark.long
def test_tables_are_those_of_the_file_for_programs(opened, written):
    tables = written.document["tables"]
    assert any(entry["grey"] for entry in tables["entries"])
    with opened(written.path) as page:
        cells = page.locator("td[data-row]")
        assert cells.count() == len(tables["entries"])
        for entry in tables["entries"]:
            place = f"td[data-row='{entry['row']}'][data-column='{entry['column']}']"
            cell = page.locator(place)
            assert cell.evaluate("e => e.firstChild.textContent") == entry["text"]
            assert (cell.locator("strong").count() == 1) == entry["best"]
            shade = cell.evaluate("e => getComputedStyle(e).backgroundColor")
            assert (shade == "rgb(220, 220, 220)") == entry["grey"]
            assert ("†" in cell.inner_text()) == entry["grey"]
            against = page.locator(place.replace("td[", "tr["))
            assert against.count() == bool(entry["against_baseline"] or entry["test"])
            if apart := entry["against_baseline"]:
                shown = "{:+.3f} [{:+.3f}, {:+.3f}]".format(apart["difference"], *apart["interval"])
                assert shown in against.inner_text()
        pairs = [row["title"] for row in written.document["pairs"]]
        assert page.locator("#table-1 tbody th").all_inner_texts() == pairs
        assert page.locator(".notes p").count() == len(written.document["notes"])
        items = page.locator("#not-done li").all_inner_texts()
        assert [item.partition(": ") for item in items] == [
            (one["cell"], ": ", one["why"]) for one in written.document["not_done"]
        ]


@pytest.mark.slow
def test_text_of_anybody_is_shown_and_never_run(opened, written):
    # Without the policy of the page, so that nothing but how the text is put in is tried.
    with opened(written.path, bypass_csp=True) as page:
        for details in page.locator("details").all():
            details.evaluate("e => { e.open = true; }")
        body = page.inner_text("body")
        for text in (HOSTILE, FORMULA, LONG, f"a\\n{LONG}", "\\u202eback", "About <b>nothing</b>"):
            assert text in body
        assert page.locator(".keys li").count() == 2 and HOSTILE in page.inner_text(".keys")
        assert page.evaluate("window.ran") is None
        assert page.locator("main img, main b, main script").count() == 0


@pytest.mark.long
def test_on_paper_all_is_unfolded_and_nothing_is_cut(opened, written):
    with opened(written.path, {"width": 720, "height": 1000}) as page:
        widths = "all => all.map((e) => e.offsetWidth)"
        drawn = page.locator(".plot").evaluate_all(widths)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator("details:not([open])").count() == 0
        assert page.is_visible("#tags table") and page.is_hidden("nav")
        assert page.evaluate("document.documentElement.scrollWidth") <= 720
        assert page.locator(".plot").evaluate_all(widths) == drawn  # they are not drawn anew
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.is_hidden("#tags table")
        assert len(page.pdf(format="A4")) > 10_000
