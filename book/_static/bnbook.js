/* Small repairs to what the theme leaves unclear for a screen reader. Each is harmless when there is nothing to repair. */
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  const repair = () => {
    // The spoken name of a control must contain the words that are seen on it.
    each("details.hide > summary[aria-label]", (summary) => summary.removeAttribute("aria-label"));
    each(".search-button__button", (button) => {
      const seen = button.innerText.replace(/\s+/g, " ").trim();
      if (seen) button.setAttribute("aria-label", seen);
    });
    // The theme switch carries its own label; the icon in it must not add a second one.
    each(".theme-switch-button .theme-switch", (icon) => {
      icon.setAttribute("aria-hidden", "true");
      icon.removeAttribute("title");
      icon.removeAttribute("aria-labelledby");
      icon.querySelector("title")?.remove();
    });
    // What unfolds in the list of pages shows an arrow alone; it is named after the page beside it.
    each("#pst-primary-sidebar li > details > summary", (summary) =>
      summary.setAttribute("aria-label", `Pages of ${summary.closest("li").querySelector("a").textContent.trim()}`));
    // A list may hold list items only.
    each(".citation-list > .citation", (entry) => entry.setAttribute("role", "listitem"));
    // A link in the title of a folded answer leads away; the script that folds takes it for a click on the title.
    each(".admonition-title > a", (link) => link.addEventListener("click", (event) => event.stopPropagation()));
    // Everything on the page belongs to a landmark, the logo too.
    each("#pst-primary-sidebar:not([role])", (sidebar) => {
      sidebar.setAttribute("role", "region");
      sidebar.setAttribute("aria-label", "Book");
    });
  };

  // A box that scrolls sideways must be reachable by keyboard; in a folded solution it has no width until it opens.
  const reach = () =>
    each(".bd-article :is(pre, div.math, .pst-scrollable-table-container)", (box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
  window.addEventListener("load", reach);
  document.addEventListener("click", () => setTimeout(reach, 100));
  window.addEventListener("resize", reach);

  // Paper is light.
  const root = document.documentElement.dataset;
  window.addEventListener("beforeprint", () => { root.onScreen = root.theme; root.theme = "light"; });
  window.addEventListener("afterprint", () => { root.theme = root.onScreen; });

  document.addEventListener("DOMContentLoaded", repair);
  // Again at the end: on the search page the theme's own preparations come after these.
  window.addEventListener("load", repair);
})();
