"use strict";
// "38 of 46" is a share, "−1.0" has a minus sign, "1,234" a comma, "1.2 MB" a unit.
const units = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
const number = (text) => {
  const found = /^([-+−]?[\d,]*\.?\d+)(?: of ([\d,]+)|%| (B|kB|MB|GB|TB)\b)?/.exec(text);
  if (!found) return NaN;
  const plain = (part) => parseFloat(part.replace("−", "-").replaceAll(",", ""));
  const value = plain(found[1]);
  if (found[2]) return 100 * value / plain(found[2]);
  return value * (units[found[3]] || 1);
};
const order = (one, other) => {
  const [a, b] = [number(one), number(other)];
  return isNaN(a) && isNaN(b) ? one.localeCompare(other, "en", { numeric: true }) : a - b;
};
const missing = (text) => text === "" || text === "–";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const fixed = [...body.rows].filter((row) => row.classList.contains("total"));
  const rows = [...body.rows].filter((row) => !row.classList.contains("total"));
  if (rows.length < 2) continue;
  table.tHead.rows[0].querySelectorAll("th").forEach((head, column) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      rows.sort((one, other) => {
        const [a, b] = [text(one), text(other)];
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return (down ? -1 : 1) * order(a, b);
      });
      body.append(...rows, ...fixed);
    };
    head.tabIndex = 0;
    head.title = "Sort by this column";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
