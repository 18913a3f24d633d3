// What the list of references says of its entries is not what it says of itself: make each an item of the list.
document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");
});

// A table that pandas was told how to format looks like all the others.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".cell_output table[id^=T_]")) table.classList.add("dataframe");
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
