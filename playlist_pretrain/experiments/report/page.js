"use strict";
// Every figure in its place; the document says when all are there.

async function drawAll() {
  const items = JSON.parse(document.getElementById("items").textContent);
  for (const [number, item] of items.entries()) {
    await Bokeh.embed.embed_item(item, `figure-${number}`);
  }
  document.documentElement.dataset.ready = "";
}

// On paper what is folded is open, and figures keep the width that they were drawn in.
const figures = [...document.querySelectorAll("figure")];
let opened = [];
addEventListener("beforeprint", () => {
  const widths = figures.map((figure) => figure.offsetWidth);
  figures.forEach((figure, number) => { figure.style.width = `${widths[number]}px`; });
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const figure of figures) figure.style.width = "";
  for (const one of opened) one.open = false;
});

drawAll();
