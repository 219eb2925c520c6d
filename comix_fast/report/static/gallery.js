// The page of the gallery: what the link says is what is shown; controls and keys change the link, nothing else.
(() => {
  const { el, fill, state, say, count, percent } = Comix;
  const { spaces, classes, domains, videos, queries } = Rows;
  const { both, perPage, options } = Link;
  const at = (id) => document.getElementById(id);
  const TYPING_MS = 120;
  /** From so many on, cards out of sight are laid out when they are scrolled to, and rows may move a little. */
  const MANY_CARDS = 1500;

  // ── what is on the page now: the rows that pass, those of the page, and the one last gone to
  let [shown, rows, first, last] = ["", [], 0, 0];
  let current = null;

  function rowElement(row, wish) {
    const details = el("button", { type: "button", class: "quiet open", "aria-label": `Details of ${videos.ids[queries[row]]}`, click: () => open(row) }, "Details");
    const badge = both ? Cards.turnedBadge(wish.before, wish.after, row) : null;
    const title = (word, space) => (both ? `${word}: ${spaces[space].name}` : null);
    const now = { title: title("after", wish.after), badge, last: details };
    if (wish.view === "both") {
      const then = Cards.strip(wish.before, row, { title: title("before", wish.before) });
      return Cards.row(row, [then, Cards.strip(wish.after, row, { ...now, earlier: wish.before })]);
    }
    if (wish.view === "before") now.title = title("before", wish.before);
    return Cards.row(row, [Cards.strip(wish.space, row, now)]);
  }

  function tallied(wish) {
    const text = `${count(rows.length)} of ${count(queries.length)} queries`;
    const [then, now] = [wish.before, wish.after].map((space) => (space === null ? null : Rows.accuracy(space, rows)));
    const here = wish.view === "before" ? then : now;
    if (!here) return text;
    // What counts in one space need not in another: votes hang on which neighbours have a label.
    const of = here.counted < rows.length ? ` of ${count(here.counted)} with a label` : "";
    const says = (one) => (one ? `${percent(one.share)} %` : "–");
    if (wish.view === "both") return `${text}; ${Rows.k}-NN accuracy${of}: ${says(then)} before, ${says(now)} after`;
    return `${text}; ${Rows.k}-NN accuracy${of}: ${says(here)}`;
  }

  function described(wish) {
    const chosen = (id) => at(id).selectedOptions[0]?.textContent.trim();
    const named = [
      both && wish.view !== "both" && `${wish.view}: ${spaces[wish.space].name}`,
      both && wish.view === "both" && `before: ${spaces[wish.before].name}, after: ${spaces[wish.after].name}`,
      wish.show && chosen("show"), wish.class !== null && `class ${chosen("class")}`,
      wish.near !== null && `a neighbour of class ${chosen("near")}`, wish.domain !== null && `domain ${chosen("domain")}`,
      wish.nearDomain !== null && `a neighbour of ${chosen("near-domain")}`, wish.text.trim() && `ids with “${wish.text.trim()}”`,
      wish.sort && `by ${chosen("sort")}`, wish.down && "reversed",
    ];
    return named.filter(Boolean).join(" · ");
  }

  /** Replaces the rows and leaves the row that is looked at where it was in the window. */
  function replaceRows(wish) {
    const anchor = anchorRow();
    const top = anchor?.getBoundingClientRect().top;
    const focused = document.activeElement?.closest?.(".row")?.dataset.row;
    const cards = (last - first) * Rows.k * (wish.view === "both" ? 2 : 1);
    at("rows").classList.toggle("many", cards > MANY_CARDS);
    fill(at("rows"), rows.slice(first, last).map((row) => rowElement(row, wish)));
    if (!rows.length) at("rows").append(el("li", { class: "note" }, "No query passes these filters."));
    Cards.forget();
    Cards.reachable(at("rows"));
    settle(current);
    if (focused !== undefined) (elementOf(Number(focused)) ?? at("rows").querySelector(".row"))?.focus({ preventScroll: true });
    const kept = anchor && elementOf(Number(anchor.dataset.row));
    if (kept) scrollBy({ top: kept.getBoundingClientRect().top - top, behavior: "instant" });
  }
  function anchorRow() {
    const below = at("bar").getBoundingClientRect().bottom;
    const seen = [...at("rows").querySelectorAll(".row")].filter((one) => one.getBoundingClientRect().bottom > below);
    const focused = document.activeElement?.closest?.(".row");
    // At the top of the page nothing is held: new rows are read from the first.
    return scrollY === 0 ? null : focused && seen.includes(focused) ? focused : seen[0];
  }

  function showRows() {
    const wish = Link.wished();
    const key = JSON.stringify([wish, state.get("page"), perPage(), Link.still()]);
    if (key === shown) return;
    shown = key;
    rows = Rows.select(wish);
    const size = perPage();
    const pages = Math.max(1, Math.ceil(rows.length / size));
    const page = Link.page(pages);
    [first, last] = [(page - 1) * size, Math.min(page * size, rows.length)];
    replaceRows(wish);
    at("where").textContent = `Page ${count(page)} of ${count(pages)}`;
    at("previous").disabled = page === 1;
    at("next").disabled = page === pages;
    at("tally").textContent = tallied(wish);
    at("described").textContent = described(wish);
    if (Link.tab() === "rows") say(at("tally").textContent);
  }

  // ── one row at a time is a stop of the tab key
  const elementOf = (row) => at("rows").querySelector(`[data-row="${row}"]`);
  function settle(row) {
    at("rows").querySelector('.row[tabindex="0"]')?.setAttribute("tabindex", "-1");
    const element = (row === null ? null : elementOf(row)) ?? at("rows").querySelector(".row");
    element?.setAttribute("tabindex", "0");
  }
  function goTo(row) {
    current = row;
    settle(row);
    elementOf(row)?.focus({ preventScroll: true });
    elementOf(row)?.scrollIntoView({ block: "nearest" });
  }
  function step(by) {
    if (Detail.dialog.open) { Detail.step(rows, by); return; }
    const place = current === null ? -1 : rows.indexOf(current, first);
    const next = place < first || place >= last ? first : place + by;
    if (next < 0 || next >= rows.length) return;
    if (next < first || next >= last) turn(next < first ? -1 : 1);
    goTo(rows[next]);
  }
  function turn(by) {
    state.set({ page: String(Math.floor(first / perPage()) + 1 + by) });
    at("rows").scrollIntoView({ block: "start" });
  }
  function open(row) {
    current = row;
    Detail.open(row);
  }

  /** Back to the rows, at the one that was looked at last, on whichever page it is. */
  function closed() {
    current = Link.opened() ?? current;
    const place = rows.indexOf(current);
    const page = Math.floor(place / perPage()) + 1;
    state.set({ open: "", page: place < 0 ? state.get("page") : page > 1 ? String(page) : "" });
    if (place >= 0) goTo(current);
  }

  // ── tabs
  let drawsShown = "";
  function showTab() {
    const tab = Link.tab();
    for (const name of ["rows", "mixes"]) {
      at(`tab-${name}`).setAttribute("aria-selected", String(tab === name));
      at(`tab-${name}`).setAttribute("tabindex", tab === name ? "0" : "-1");
      at(`view-${name}`).hidden = tab !== name;
    }
    const key = JSON.stringify([tab, state.get("mixes"), state.get("mixes-domain"), Link.still()]);
    if (tab !== "mixes" || key === drawsShown) return;
    drawsShown = key;
    say(Mixes.show());
    Cards.forget();
  }

  function showControls() {
    const wish = Link.wished();
    for (const button of at("views").querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === wish.view));
    }
    const kept = (id, value) => { if (at(id).value !== value) at(id).value = value; };
    for (const id of ["before", "after"]) kept(id, wish[id] === null ? "" : spaces[wish[id]].name);
    for (const id of ["class", "near", "domain", "near-domain", "mix-domain"]) {
      const name = id === "mix-domain" ? "mixes-domain" : id;
      kept(id, options(id).includes(state.get(name)) ? state.get(name) : "");
    }
    for (const [id, name] of [["text", "text"], ["mix-text", "mixes"]]) {
      // What is being typed is not taken back by what the link still says.
      if (document.activeElement !== at(id)) kept(id, state.get(name));
    }
    kept("show", wish.show);
    kept("sort", wish.sort);
    kept("per", Link.size());
    at("order").setAttribute("aria-pressed", String(wish.down));
    at("motion").setAttribute("aria-pressed", String(Link.still()));
    Cards.stop(Link.still());
  }

  function show() {
    showControls();
    showRows();
    showTab();
    Detail.show(rows);
  }

  // ── controls
  function fillChoices() {
    const choices = (id, names) => fill(at(id), names.map(([value, words]) => el("option", { value }, words)));
    const same = (names) => names.map((name) => [name, name]);
    const used = (numbers) => [...new Set(numbers)].map((number) => domains[number]);
    const unlabelled = videos.labels.includes(Rows.NONE) ? [[Link.NO_LABEL, "no label"]] : [];
    const asking = used(queries.map((video) => videos.domains[video]));
    const answering = used(spaces.flatMap((space) => space.neighbours).map((video) => videos.domains[video]));
    for (const id of ["before", "after"]) choices(id, same(spaces.map((space) => space.name)));
    for (const id of ["class", "near"]) choices(id, [["", "any"], ...same(classes), ...unlabelled]);
    choices("domain", [["", "any"], ...same(asking)]);
    choices("near-domain", [["", "any"], ...same(answering)]);
    choices("mix-domain", [["", "any"], ...same(Mixes.domains)]);
    choices("per", same(Link.sizes));
    at("domain-label").hidden = asking.length < 2;
    at("near-domain-label").hidden = answering.length < 2;
  }

  function hideWhatIsNotThere() {
    at("views").hidden = !both;
    for (const label of document.querySelectorAll(".compared")) label.hidden = !both;
    if (!both) for (const value of ["newly-right", "newly-wrong", "change"]) document.querySelector(`option[value="${value}"]`).remove();
    at("motion").hidden = !Cards.moves;
    at("tabs").hidden = !Mixes.any;
  }

  const chooses = (id, name) => at(id).addEventListener("change", () => state.set({ [name]: at(id).value, page: "" }));
  function types(id, name) {
    let timer = 0;
    at(id).addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => state.set({ [name]: at(id).value, page: "" }), TYPING_MS);
    });
  }
  const clicks = (id, does) => at(id).addEventListener("click", does);
  const toggleMotion = () => state.set({ motion: Link.still() ? "on" : "off" });
  function clear() {
    at("text").value = "";
    state.set(Object.fromEntries(["text", "show", "class", "near", "domain", "near-domain", "page"].map((name) => [name, ""])));
  }
  function otherTab(event) {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    state.set({ tab: Link.tab() === "rows" ? "mixes" : "" });
    at(`tab-${Link.tab()}`).focus();
  }

  function listen() {
    for (const id of ["before", "after", "show", "class", "near", "domain", "near-domain", "sort", "per"]) chooses(id, id);
    chooses("mix-domain", "mixes-domain");
    types("text", "text");
    types("mix-text", "mixes");
    for (const button of at("views").querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => state.set({ view: button.dataset.view === "after" ? "" : button.dataset.view }));
    }
    for (const name of ["rows", "mixes"]) clicks(`tab-${name}`, () => state.set({ tab: name === "rows" ? "" : name }));
    at("tabs").addEventListener("keydown", otherTab);
    clicks("order", () => state.set({ order: Link.wished().down ? "" : "down", page: "" }));
    clicks("reset", clear);
    clicks("previous", () => turn(-1));
    clicks("next", () => turn(1));
    clicks("motion", toggleMotion);
    clicks("keys-button", () => at("keys").showModal());
    at("rows").addEventListener("focusin", (event) => {
      const row = event.target.closest(".row");
      if (row?.dataset.row) { current = Number(row.dataset.row); settle(current); }
    });
    at("rows").addEventListener("click", (event) => {
      if (event.target.closest(".picture")) open(Number(event.target.closest(".row").dataset.row));
    });
    Detail.dialog.addEventListener("close", closed);
    let resized = 0;
    addEventListener("resize", () => { cancelAnimationFrame(resized); resized = requestAnimationFrame(() => Cards.reachable(document)); });
    matchMedia("(prefers-reduced-motion: reduce)").addEventListener("change", show);
    Keys.listen({ toggleMotion, step });
  }

  /** On a narrow screen the filters wait behind one line, so that rows are seen at once. */
  function fold() {
    const narrow = matchMedia("(max-width: 40rem)");
    const folded = () => { at("filters").open = !narrow.matches; };
    narrow.addEventListener("change", folded);
    folded();
  }

  fillChoices();
  hideWhatIsNotThere();
  listen();
  fold();
  state.onChange(show);
  show();
})();
