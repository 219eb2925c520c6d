// A query's detail: larger pictures, every embedding, over the page.
const Detail = (() => {
  const { el, state } = Comix;
  const { spaces, videos, queries } = Rows;
  const dialog = document.getElementById("detail");
  let shown = "";

  const open = (row) => state.set({ open: videos.ids[queries[row]] });
  const neighbourOf = (rows, row, by) => {
    const place = rows.indexOf(row);
    return place < 0 ? undefined : rows[place + by];
  };

  /** Opens the next or the previous of these rows, if there is one. */
  function step(rows, by) {
    const next = neighbourOf(rows, Link.opened(), by);
    if (next !== undefined) open(next);
  }

  function header(rows, row) {
    const button = (words, by) => el(
      "button", { type: "button", "data-by": by, disabled: neighbourOf(rows, row, by) === undefined, click: () => step(rows, by) }, words);
    return el(
      "header", {}, el("h2", { id: "detail-title" }, el("bdi", {}, videos.ids[queries[row]])),
      button("Previous", -1), button("Next", 1), el("button", { type: "button", click: () => dialog.close() }, "Close"),
    );
  }

  const section = (row) => (space, number) => el(
    "section", {}, Cards.strip(number, row, { title: space.name }), el("p", { class: "soft small" }, space.label));

  /** Shows what the link asks for. rows: those that pass, in order. */
  function show(rows) {
    const row = Link.opened();
    const key = row === undefined ? "" : JSON.stringify([row, Link.still(), neighbourOf(rows, row, -1), neighbourOf(rows, row, 1)]);
    if (key === shown) return;
    shown = key;
    if (row === undefined) {
      if (dialog.open) dialog.close();
      Comix.fill(dialog);
      return;
    }
    const pressed = dialog.contains(document.activeElement) ? document.activeElement.dataset.by : undefined;
    Comix.fill(dialog, header(rows, row), el("div", { class: "split" }, Cards.asked(queries[row]), el("div", {}, ...spaces.map(section(row)))));
    if (!dialog.open) dialog.showModal();
    (dialog.querySelector(`[data-by="${pressed}"]:enabled`) ?? dialog.querySelector("header button:last-child")).focus();
    Cards.reachable(dialog);
    Cards.forget();
    dialog.scrollTop = 0;
  }
  return { show, open, step, dialog };
})();
