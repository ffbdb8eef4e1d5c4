"use strict";
// Every figure in its place; the document says when all are there.

async function drawAll() {
  const items = JSON.parse(document.getElementById("items").textContent);
  for (const [number, item] of items.entries()) {
    await Bokeh.embed.embed_item(item, `figure-${number}`);
  }
  document.documentElement.dataset.ready = "";
}

// What is folded is printed too, and folded again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});

drawAll();
