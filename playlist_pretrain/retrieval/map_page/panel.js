// Everything around the map: search, colours, the selected track, its audio, its nearest.

const part = (id) => document.getElementById(id);
const mostListed = 100;
const state = { label: data.labels[0] ?? null, value: null, selected: null, matching: [] };
const filtered = () => part("search").value.trim() !== "" || state.value !== null;

function paint() {
  const looks = data.ids.map((_, row) => lookOfTrack(state.label, row, state.value));
  drawPoints(looks, state.matching);
}

function trackButton(row, figure) {
  const name = element("span", { class: "name" }, element("bdi", {}, nameOf(row)));
  const facts = factsOf(row).filter(([, text]) => text !== nameOf(row)).map(([, text]) => text);
  if (facts.length) name.append(element("small", {}, element("bdi", {}, facts.join(" · "))));
  const button = element("button", { type: "button", tabindex: -1 }, name);
  if (figure) button.append(element("span", { class: "figure" }, figure));
  button.dataset.row = row;
  button.addEventListener("click", () => select(row, true));
  for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => point(row));
  for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => point(null));
  return button;
}

function fill(list, buttons) {
  point(null); // a button that is taken away does not say that it is left
  list.replaceChildren(...buttons.map((button) => element("li", {}, button)));
  if (buttons.length) buttons[0].tabIndex = 0; // the arrows lead to the others
  markSelected();
}

function markSelected() {
  for (const button of document.querySelectorAll(".tracks button")) {
    button.setAttribute("aria-current", Number(button.dataset.row) === state.selected);
  }
}

function filter() {
  const matches = matchesOf(part("search").value, state.label, state.value);
  state.matching = new Array(tracks).fill(false);
  for (const row of matches) state.matching[row] = true;
  part("matching").textContent = filtered()
    ? `${matches.length.toLocaleString("en")} of ${count(tracks, "track")} match`
    : count(tracks, "track");
  part("found").hidden = !filtered();
  const listed = filtered() ? matches.slice(0, mostListed) : [];
  fill(part("matches"), listed.map((row) => trackButton(row)));
  const rest = matches.length - listed.length;
  part("more").textContent = !filtered() || !rest ? "" : `and ${rest.toLocaleString("en")} more`;
  paint();
}

function point(row, at = null) {
  ring("pointed", row === null ? [] : [row]);
  const tip = part("tip");
  tip.hidden = row === null;
  if (row === null) return;
  tip.replaceChildren(...factsOf(row).map(([name, text]) =>
    element("div", {}, `${name}: `, element("bdi", {}, text))));
  const [sx, sy] = at ?? screenOf(row);
  const box = part("map");
  const left = sx + 14 + tip.offsetWidth > box.clientWidth ? sx - 14 - tip.offsetWidth : sx + 14;
  tip.style.left = `${Math.max(0, Math.min(left, box.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${Math.max(0, Math.min(sy + 14, box.clientHeight - tip.offsetHeight))}px`;
}

function select(row, play) {
  state.selected = row;
  const near = row === null ? [] : nearestOf(row);
  ring("chosen", row === null ? [] : [row]);
  ring("near", near.map((each) => each.row));
  part("none").hidden = row !== null;
  part("track").replaceChildren(...(row === null ? [] : factsOf(row)).flatMap(([name, text]) =>
    [element("dt", {}, name), element("dd", {}, element("bdi", {}, text))]));
  part("nearest").hidden = !near.length;
  const list = part("neighbours");
  const within = list.contains(document.activeElement);
  fill(list, near.map((each) => trackButton(each.row, each.similarity.toFixed(4))));
  if (within) list.querySelector("button")?.focus(); // the button that was pressed is gone
  listen(row, play);
}

function say(text) {
  part("message").textContent = text;
}

function listen(row, play) {
  const audio = part("audio");
  const link = row === null ? "" : data.links?.[row];
  audio.pause();
  audio.hidden = !link;
  say("");
  if (!link) {
    audio.removeAttribute("src");
    if (row !== null) say(data.links ? "No audio file of this track is linked." : "No audio.");
    return;
  }
  audio.src = link;
  if (!play) return;
  audio.play().catch((error) => {
    if (error.name === "NotAllowedError") say("Press play to hear it.");
  });
}

part("audio").addEventListener("error", () => {
  if (!part("audio").getAttribute("src")) return;
  say(`Cannot be played: ${data.links[state.selected]} is not there, or of a format that this browser does not know.`);
});

function drawLegend() {
  const label = state.label;
  part("legend").hidden = !label;
  if (!label) return;
  const looks = label.values.map((_, value) => lookOf(value)).filter(Boolean);
  const entries = looks.map((look, value) => {
    const button = legendButton(look, label.values[value], label.counts[value]);
    button.setAttribute("aria-pressed", state.value === value);
    button.addEventListener("click", () => {
      state.value = state.value === value ? null : value;
      for (const each of part("values").querySelectorAll("button")) {
        each.setAttribute("aria-pressed", each === button && state.value === value);
      }
      filter();
    });
    return element("li", {}, button);
  });
  const rest = data.ids.filter((_, row) => !lookOfTrack(label, row, null)).length;
  if (rest) entries.push(element("li", {}, legendButton(null, "other or none", rest)));
  part("values").replaceChildren(...entries);
  const several = label.tracks.some((values) => values.length > 1);
  part("several").textContent = several
    ? "A track with several has the colour of the least frequent one. Press one to see all its tracks."
    : "Press one to see its tracks only.";
}

function legendButton(look, name, tracksOfIt) {
  const swatch = element("span", { class: `swatch ${look?.shape ?? ""}`, "aria-hidden": "true" });
  swatch.style.background = look?.colour ?? "var(--other)";
  const children = [swatch, element("bdi", { class: "name" }, name)];
  children.push(element("span", { class: "figure" }, tracksOfIt.toLocaleString("en")));
  return look
    ? element("button", { type: "button" }, ...children)
    : element("div", { class: "rest" }, ...children);
}

function clear() {
  if (!filtered()) return select(null, false);
  part("search").value = "";
  state.value = null;
  drawLegend();
  filter();
}

function moveWithin(list, event) {
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  if (to < 0 && list === part("matches")) return part("search").focus();
  const next = buttons[Math.max(0, Math.min(to, buttons.length - 1))];
  buttons[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function listenToKeys() {
  for (const id of ["matches", "neighbours"]) {
    part(id).addEventListener("keydown", (event) => moveWithin(part(id), event));
  }
  part("search").addEventListener("keydown", (event) => {
    const first = part("matches").querySelector("button");
    if (!first || !["ArrowDown", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") first.click();
    else first.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    clear();
    part("search").focus();
  });
}

function listenToPointer() {
  const { model } = plot.view;
  model.on_event("mousemove", ({ sx, sy }) => {
    const row = rowAt(sx, sy, state.matching);
    point(row, [sx, sy]);
    part("plot").style.cursor = row === null ? "" : "pointer";
  });
  model.on_event("mouseleave", () => point(null));
  model.on_event("tap", ({ sx, sy }) => {
    const row = rowAt(sx, sy, state.matching);
    if (row === null) return;
    select(row, true);
    // A finger does not hover: it leaves as soon as it has tapped, and after that its track is named.
    setTimeout(() => point(row, [sx, sy]));
  });
}

async function start() {
  const box = part("label");
  data.labels.forEach((label, i) => box.append(element("option", { value: i }, label.name)));
  part("colouring").hidden = !data.labels.length;
  box.addEventListener("change", () => {
    state.label = data.labels[Number(box.value)];
    state.value = null;
    drawLegend();
    filter();
  });
  part("search").addEventListener("input", filter);
  await drawPlot();
  listenToKeys();
  listenToPointer();
  drawLegend();
  filter();
  select(data.selected, false);
  document.documentElement.dataset.ready = "true";
}

start();
