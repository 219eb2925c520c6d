// Keys: each does what a control does, by changing the link.
const Keys = (() => {
  const { state } = Comix;
  const at = (id) => document.getElementById(id);
  const IN_DETAIL = ["j", "k", "m"];
  const SIDEWAYS = 160;

  const sideways = (row, by) => {
    for (const list of row.querySelectorAll(".neighbours")) list.scrollBy({ left: by * SIDEWAYS });
  };
  function search() {
    at("filters").open = true;
    at(Link.tab() === "rows" ? "text" : "mix-text").select();
  }

  /** toggleMotion, step(by): the page's own. */
  function listen({ toggleMotion, step }) {
    const { wished, both } = Link;
    const anywhere = {
      j: () => step(1),
      k: () => step(-1),
      b: () => both && state.set({ view: wished().view === "before" ? "" : "before" }),
      c: () => both && state.set({ view: wished().view === "both" ? "" : "both" }),
      w: () => state.set({ show: wished().show === "wrong" ? "" : "wrong", page: "" }),
      m: () => Cards.moves && toggleMotion(),
      "/": search,
      "?": () => at("keys").showModal(),
    };
    const inRow = {
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      ArrowRight: (row) => sideways(row, 1),
      ArrowLeft: (row) => sideways(row, -1),
      Enter: (row) => Detail.open(Number(row.dataset.row)),
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open) return;
      if (event.target.matches("input, select, textarea")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const row = event.target.matches(".row[data-row]") ? event.target : null;
      const does = (row && inRow[event.key]) || (Detail.dialog.open && !IN_DETAIL.includes(event.key) ? null : anywhere[event.key]);
      if (!does) return;
      event.preventDefault();
      does(row);
    });
  }
  return { listen };
})();
