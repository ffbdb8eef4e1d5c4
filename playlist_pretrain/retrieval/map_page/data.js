"use strict";
// What the page knows of the tracks. Text of theirs goes into the document by textContent only.

const data = JSON.parse(document.getElementById("data").textContent);
const arrays = { Float32Array, Int16Array, Uint16Array, Uint32Array };

function unpacked({ type, data: text }) {
  return new arrays[type](Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
}

const xs = unpacked(data.x);
const ys = unpacked(data.y);
const neighbourRows = unpacked(data.neighbours);
const similarities = unpacked(data.similarities);
const tracks = data.ids.length;

// Okabe & Ito's colours, which people of any colour vision tell apart, without black; each comes
// with two shapes, the more frequent values first.
const colours = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"];
const shapes = ["circle", "triangle"];

// Case and accents do not matter to a search.
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function valuesOf(label, row) {
  return label.tracks[row].map((value) => label.values[value]);
}

const haystacks = data.ids.map((id, row) => folded([
  id, data.titles?.[row] ?? "", ...data.labels.flatMap((label) => valuesOf(label, row)),
].join("\n")));

function nameOf(row) {
  return data.titles?.[row] || data.ids[row];
}

// What there is to say of a track, name and text each.
function factsOf(row) {
  const facts = [["id", data.ids[row]]];
  if (data.titles?.[row]) facts.unshift(["title", data.titles[row]]);
  for (const label of data.labels) {
    const values = valuesOf(label, row);
    const more = label.more[row] ? [`and ${label.more[row].toLocaleString("en")} more`] : [];
    if (values.length) facts.push([label.name, [...values, ...more].join(", ")]);
  }
  return facts;
}

function nearestOf(row) {
  const first = row * data.nearest;
  return Array.from({ length: data.nearest }, (_, place) => ({
    row: neighbourRows[first + place],
    similarity: similarities[first + place] / data.digits,
  }));
}

function matchesOf(query, label, value) {
  const words = folded(query).split(/\s+/).filter(Boolean);
  const matches = [];
  for (let row = 0; row < tracks; row++) {
    const has = value === null || label.tracks[row].includes(value);
    if (has && words.every((word) => haystacks[row].includes(word))) matches.push(row);
  }
  return matches;
}

// Colour and shape of a value, by its place among the most frequent ones; null for the rest.
function lookOf(value) {
  if (value >= colours.length * shapes.length) return null;
  return {
    colour: colours[value % colours.length],
    shape: shapes[Math.floor(value / colours.length)],
  };
}

// A track with several values looks like the least frequent one that has a colour: it says most.
function lookOfTrack(label, row, value) {
  if (!label) return { colour: colours[0], shape: shapes[0] };
  if (value !== null && label.tracks[row].includes(value) && lookOf(value)) return lookOf(value);
  const shown = label.tracks[row].filter((each) => lookOf(each));
  return shown.length ? lookOf(Math.max(...shown)) : null;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children); // strings become text nodes
  return made;
}

function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
