"use strict";
// A click on a header sorts its table, and a click on a figure enlarges it. Nothing else on the page needs this script.

function onUse(element, act) {
  element.tabIndex = 0;
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => { if (event.key === "Enter") act(); });
}

function compare(one, other) {
  const [a, b] = [one, other].map((text) => parseFloat(text.replaceAll(",", "")));
  return isNaN(a) || isNaN(b) ? other.localeCompare(one) : b - a;
}

function sortBy(header) {
  const body = header.closest("table").tBodies[0];
  const text = (row) => row.cells[header.cellIndex].textContent;
  const order = header.ariaSort === "descending" ? "ascending" : "descending";
  const rows = [...body.rows].sort((one, other) => compare(text(one), text(other)));
  const ends = rows.filter((row) => text(row) === "-"); // what is undefined stays last
  const sorted = rows.filter((row) => text(row) !== "-");
  if (order === "ascending") sorted.reverse();
  for (const other of header.parentNode.cells) other.ariaSort = null;
  header.ariaSort = order;
  body.append(...sorted, ...ends);
}

function enlarge(image) {
  const dialog = document.createElement("dialog");
  dialog.append(image.cloneNode());
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.documentElement.classList.add("script");
for (const header of document.querySelectorAll("th")) onUse(header, () => sortBy(header));
for (const image of document.querySelectorAll("figure img")) onUse(image, () => enlarge(image));
