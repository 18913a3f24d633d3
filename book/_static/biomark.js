// What the list of references says of its entries is not what it says of itself: make each an item of the list.
document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");
  // Parameters that have a line each are written as a list of definitions without terms: to a reader they are text.
  for (const part of document.querySelectorAll(".sig > dl, .sig > dl > dd")) part.setAttribute("role", "presentation");
});

// Tables of pandas, also those that it was told how to format, look alike: numbers stand to the right and words to the
// left, each below its head; the names of rows stand in the line of heads; and a table that is too wide gets smaller
// letters before it has to be scrolled.
document.addEventListener("DOMContentLoaded", () => {
  const text = cell => cell.textContent.trim();
  const number = /^(nan|none|[<>]?\s*[-+\u2212]?[\d.,]+(e[-+]?\d+)?\s?%?|-|\u00b7)?$/i;
  for (const table of document.querySelectorAll(".cell_output :is(table.dataframe, table[id^=T_])")) {
    table.classList.add("dataframe");
    const heads = [...(table.tHead?.rows ?? [])];
    const [above, names] = heads.slice(-2);
    const apart = names && above.cells.length === names.cells.length;
    if (apart && [...names.cells].every((cell, i) => !text(cell) || !text(above.cells[i]))) {
      [...names.cells].forEach((cell, i) => { if (text(cell)) above.cells[i].innerHTML = cell.innerHTML; });
      heads.pop();
      names.remove();
    }
    const rows = [...table.tBodies].flatMap(body => [...body.rows]).map(row => [...row.querySelectorAll("td")]);
    const wide = Math.max(0, ...rows.map(cells => cells.length));
    const head = [...(heads.at(-1)?.cells ?? [])];
    for (const cell of head.slice(0, head.length - wide)) cell.classList.add("words");
    for (let k = 1; k <= wide; k++) {  // from the right, because names of rows may span several
      const column = rows.map(cells => cells.at(-k)).filter(Boolean);
      if (column.every(cell => number.test(text(cell)))) continue;
      for (const cell of [...column, head.at(-k)]) cell?.classList.add("words");
    }
    const room = table.closest(".cell_output").clientWidth / table.scrollWidth;
    if (room >= 1 || window.innerWidth <= 600) continue;
    const [now, around] = [table, table.parentElement].map(part => parseFloat(getComputedStyle(part).fontSize));
    // Letters of three quarters are small enough, and those that the cell itself made smaller get a little smaller.
    table.style.fontSize = `${Math.max(0.98 * room * now, Math.min(0.75 * around, 0.93 * now))}px`;
  }
});

// The handle of a slider made by ipywidgets has a role and no name: give it the name and the value that stand beside it,
// for readers who hear the page. Sliders are drawn after the page has loaded, hence the observer.
(() => {
  const name = () => {
    for (const handle of document.querySelectorAll(".widget-slider .noUi-handle")) {
      const bar = handle.closest(".widget-slider");
      for (const [attribute, of] of [["aria-label", ".widget-label"], ["aria-valuetext", ".widget-readout"]]) {
        const text = bar.querySelector(of)?.textContent.trim();
        if (text && handle.getAttribute(attribute) !== text) handle.setAttribute(attribute, text);
      }
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(name).observe(document.body, { childList: true, characterData: true, subtree: true });
  });
})();
