"use strict";
// A click on a column's title sorts the table: numbers from the highest, words from A; another click turns it round.
const valueOf = (row, column) => {
  const text = row.cells[column].textContent.trim(), number = parseFloat(text.replace(/,/g, ""));
  return { text, number };
};
const compare = (one, other) => {
  const [a, b] = [one, other].map(({ number }) => Number.isNaN(number));
  if (a && b) return one.text.localeCompare(other.text);
  return a || b ? (a ? 1 : -1) : other.number - one.number;
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turned = head.getAttribute("aria-sort") === "descending";
      const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
      rows.sort((one, other) => {
        const order = compare(one.value, other.value);
        // What has no number stays at the end.
        const blank = Number.isNaN(one.value.number) !== Number.isNaN(other.value.number);
        return turned && !blank ? -order : order;
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turned ? "ascending" : "descending");
      body.append(...rows.map(({ row }) => row));
    });
  });
}
