"use strict";
// Draws the data block of this page. Whatever is in it is shown as text, never as markup.
// It begins once the other file is read.

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const made = (name, text = "", kind = "") => {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const template = (name) => document.getElementById(name).content.cloneNode(true);
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;
// Not Math.max(...numbers): a few 100,000 arguments are too many.
const largest = (numbers, least) => numbers.reduce((most, one) => Math.max(most, one), least);
// A name beside other text, whose order the signs for right-to-left text would change.
const plain = (name) => name.replace(
  /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu,
  (sign) => `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`,
);
const sum = (numbers) => numbers.reduce((whole, one) => whole + one, 0);
// Asked for at each cell of a drawing, and the same until the system changes between light and dark.
const colours = new Map();
function colour(name) {
  if (!colours.has(name)) {
    colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  }
  return colours.get(name);
}

// A canvas as sharp as the screen; what is drawn on it has the size that the page gives it.
function context(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const drawing = canvas.getContext("2d");
  drawing.scale(ratio, ratio);
  return drawing;
}

function table(element, head, rows) {
  const top = element.createTHead().insertRow();
  for (const title of head) {
    const cell = made("th", title);
    cell.scope = "col";
    top.append(cell);
  }
  const body = element.createTBody();
  for (const [name, ...values] of rows) {
    const row = body.insertRow();
    const title = made("th", name);
    title.scope = "row";
    row.append(title);
    for (const value of values) {
      const cell = made("td", typeof value === "number" ? number.format(value) : value ?? "–");
      if (typeof value === "number") cell.dataset.value = String(value);
      row.append(cell);
    }
  }
}

// Calls what belongs to a key.
function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    const asked = keys[event.key];
    const other = event.altKey || event.ctrlKey || event.metaKey;
    if (!asked || other) return;
    event.preventDefault();
    asked();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const { question, video } = data.inspection;
  document.getElementById("title").textContent = question;
  showInspection(data.inspection, data.pictures, main, document.getElementById("about"), video);
});
