// The map: points, rings around those that are looked at, and which point a pointer is at.

const reach = 14; // pixels from a point within which a pointer means it
const plot = { view: null, doc: null };

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function drawPlot() {
  const item = JSON.parse(document.getElementById("item").textContent);
  const views = await Bokeh.embed.embed_item(item);
  plot.view = [...views][0];
  plot.doc = plot.view.model.document;
  ink();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    ink();
    paint();
  });
}

function ink() {
  plot.doc.get_model_by_name("points").glyph.line_color = { value: style("--edge") };
  for (const name of ["near", "chosen", "pointed"]) {
    plot.doc.get_model_by_name(name).glyph.line_color = { value: style("--ring") };
  }
}

function drawPoints(looks, matching) {
  const other = style("--other");
  plot.doc.get_model_by_name("points").data_source.data = {
    x: xs,
    y: ys,
    color: looks.map((look, row) => (matching[row] && look ? look.colour : other)),
    marker: looks.map((look) => look?.shape ?? shapes[0]),
    alpha: looks.map((look, row) => (!matching[row] ? 0.12 : look ? 0.85 : 0.5)),
  };
}

function ring(name, rows) {
  plot.doc.get_model_by_name(name).data_source.data = {
    x: rows.map((row) => xs[row]),
    y: rows.map((row) => ys[row]),
  };
}

// Canvas position of a track, in CSS pixels.
function screenOf(row) {
  const { x_scale, y_scale } = plot.view.frame;
  return [x_scale.compute(xs[row]), y_scale.compute(ys[row])];
}

function rowAt(sx, sy, matching) {
  const { x_scale, y_scale, bbox } = plot.view.frame;
  const [x0, y0] = [x_scale.compute(0), y_scale.compute(0)];
  const [dx, dy] = [x_scale.compute(1) - x0, y_scale.compute(1) - y0]; // both scales are linear
  let best = null;
  let least = reach * reach;
  for (let row = 0; row < tracks; row++) {
    const x = x0 + dx * xs[row];
    const y = y0 + dy * ys[row];
    // Of points on one spot the one that matches is meant, which is the one that is seen.
    const distance = (x - sx) ** 2 + (y - sy) ** 2 + (matching[row] ? 0 : 1e-3);
    if (distance < least && bbox.contains(x, y)) [best, least] = [row, distance];
  }
  return best;
}
