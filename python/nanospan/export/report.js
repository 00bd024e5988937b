"use strict";
// Makes the table sortable and adds a filter by name. The page is complete without this script.
const table = document.querySelector("table");
const body = table.tBodies[0];
const rows = [...body.rows];

function sortBy(heading, column) {
  const descending = heading.getAttribute("aria-sort") !== "descending" && column > 0;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    return x === "" ? 1 : y === "" ? -1 : isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
  };
  rows.sort((a, b) => {
    const empty = value(a) === "" || value(b) === "";
    return descending && !empty ? -order(a, b) : order(a, b);
  });
  body.append(...rows);
}

[...table.tHead.rows[0].cells].forEach((heading, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading, column));
  heading.append(button);
});

if (rows.length > 8) {
  const filter = document.createElement("input");
  filter.type = "search";
  filter.className = "filter";
  filter.placeholder = "Filter operations";
  filter.setAttribute("aria-label", "Filter operations by name");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) {
      const link = row.querySelector("a");
      const hidden = !link.textContent.toLowerCase().includes(wanted);
      row.hidden = hidden;
      document.querySelector(link.getAttribute("href")).hidden = hidden;
    }
  });
  document.querySelector(".table").before(filter);
}
