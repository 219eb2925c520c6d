// The page of the gallery: what the link says is what is shown; controls and keys change the link, nothing else.
(() => {
  const { el, fill, state, say, count, percent, values } = Comix;
  const { spaces, classes, domains, videos, queries } = Rows;
  const at = (id) => document.getElementById(id);
  const PER_PAGE = [25, 50, 100];
  const ALL_BELOW = 200;
  const TYPING_MS = 120;
  const both = values.before !== null;

  // ── the link, read; what it may not say is taken for the default
  const spaceIn = (name, otherwise) => Rows.numberOf.get(state.get(name)) ?? otherwise;
  const numberIn = (name, names) => {
    const found = names.indexOf(state.get(name));
    return state.get(name) === "–" ? Rows.NONE : found < 0 ? null : found;
  };
  const oneOf = (name, allowed, otherwise) => (allowed.includes(state.get(name)) ? state.get(name) : otherwise);
  const still = () => oneOf("motion", ["on", "off"], matchMedia("(prefers-reduced-motion: reduce)").matches ? "off" : "on") === "off";
  const options = (id) => [...at(id).options].map((option) => option.value);

  function wished() {
    const view = both ? oneOf("view", ["before", "after", "both"], "after") : "after";
    const [before, after] = [both ? spaceIn("before", values.before) : null, spaceIn("after", values.after)];
    return {
      view, before, after, space: view === "before" ? before : after,
      show: oneOf("show", options("show"), ""), sort: oneOf("sort", options("sort"), ""), down: state.get("order") === "down",
      class: numberIn("class", classes), near: numberIn("near", classes),
      domain: numberIn("domain", domains), nearDomain: numberIn("near-domain", domains), text: state.get("text"),
    };
  }

  // ── what is on the page now
  let [shown, rows, first, last] = ["", [], 0, 0];
  let current = null;

  function perPage() {
    if (state.get("per") === "all" && queries.length < ALL_BELOW) return queries.length;
    const asked = Number(state.get("per"));
    return PER_PAGE.includes(asked) ? asked : PER_PAGE[0];
  }

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
    const accuracy = (space) => Rows.accuracy(space, rows);
    const says = (space) => `${percent(accuracy(space))} %`;
    const text = `${count(rows.length)} of ${count(queries.length)} queries`;
    if (accuracy(wish.after) === null) return text;
    if (wish.view === "both") return `${text}; k-NN accuracy ${says(wish.before)} before, ${says(wish.after)} after`;
    return `${text}; k-NN accuracy ${says(wish.space)}`;
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

  function showRows() {
    const wish = wished();
    const key = JSON.stringify([wish, state.get("page"), perPage(), still()]);
    if (key === shown) return;
    shown = key;
    rows = Rows.select(wish);
    const [size, pages] = [perPage(), Math.max(1, Math.ceil(rows.length / perPage()))];
    const page = Math.min(pages, Math.max(1, Math.trunc(Number(state.get("page"))) || 1));
    [first, last] = [(page - 1) * size, Math.min(page * size, rows.length)];
    const focused = document.activeElement?.closest?.(".row")?.dataset.row;
    fill(at("rows"), rows.slice(first, last).map((row) => rowElement(row, wish)));
    if (!rows.length) at("rows").append(el("li", { class: "note" }, "No query passes these filters."));
    Cards.forget();
    Cards.reachable(at("rows"));
    settle(current);
    if (focused !== undefined) (elementOf(Number(focused)) ?? at("rows")).focus({ preventScroll: true });
    at("where").textContent = `Page ${count(page)} of ${count(pages)}`;
    at("previous").disabled = page === 1;
    at("next").disabled = page === pages;
    at("tally").textContent = tallied(wish);
    at("described").textContent = described(wish);
    if (tab() === "rows") say(at("tally").textContent);
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
  at("rows").addEventListener("focusin", (event) => {
    const row = event.target.closest(".row");
    if (row?.dataset.row) { current = Number(row.dataset.row); settle(current); }
  });

  function step(by) {
    if (at("detail").open) { stepDetail(by); return; }
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

  // ── a query's detail
  const open = (row) => { current = row; state.set({ open: videos.ids[queries[row]] }); };
  const opened = () => Rows.rowOf.get(state.get("open"));
  function stepDetail(by) {
    const next = rows.indexOf(opened()) + by;
    if (next >= 0 && next < rows.length) open(rows[next]);
  }
  let detailed = "";
  function showDetail() {
    const dialog = at("detail");
    const row = opened();
    const key = row === undefined ? "" : `${row} ${still()}`;
    if (key === detailed) return;
    detailed = key;
    if (row === undefined) { if (dialog.open) dialog.close(); fill(dialog); return; }
    const place = rows.indexOf(row);
    const button = (words, by) => el(
      "button", { type: "button", disabled: place < 0 || place + by < 0 || place + by >= rows.length, click: () => stepDetail(by) }, words);
    fill(
      dialog,
      el("header", { class: "controls always" }, el("h2", { id: "detail-title" }, el("bdi", {}, videos.ids[queries[row]])),
        button("Previous", -1), button("Next", 1), el("button", { type: "button", click: () => dialog.close() }, "Close")),
      Cards.asked(queries[row]),
      ...spaces.map((space, number) => el("section", {}, Cards.strip(number, row, { title: space.name }), el("p", { class: "soft small" }, space.label))),
    );
    if (!dialog.open) dialog.showModal();
    Cards.reachable(dialog);
    dialog.scrollTop = 0;
  }
  at("detail").addEventListener("close", () => {
    state.set({ open: "" });
    if (current !== null) goTo(current);
  });

  // ── tabs
  const tab = () => (Mixes.any ? oneOf("tab", ["rows", "mixes"], "rows") : "rows");
  let drawsShown = "";
  function showTab() {
    for (const name of ["rows", "mixes"]) {
      const here = tab() === name;
      at(`tab-${name}`).setAttribute("aria-selected", String(here));
      at(`tab-${name}`).setAttribute("tabindex", here ? "0" : "-1");
      at(`view-${name}`).hidden = !here;
    }
    const key = JSON.stringify([tab(), state.get("mixes"), state.get("mixes-domain"), still()]);
    if (tab() !== "mixes" || key === drawsShown) return;
    drawsShown = key;
    say(Mixes.show());
    Cards.forget();
  }

  function showControls() {
    const wish = wished();
    for (const button of at("spaces").querySelectorAll("[data-view]")) {
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
    kept("per", perPage() === queries.length && state.get("per") === "all" ? "all" : String(perPage()));
    at("order").setAttribute("aria-pressed", String(wish.down));
    at("motion").setAttribute("aria-pressed", String(still()));
    Cards.stop(still());
  }

  function show() {
    showControls();
    showRows();
    showTab();
    showDetail();
  }

  // ── controls
  const choices = (id, names) => fill(at(id), names.map(([value, words]) => el("option", { value }, words)));
  const classChoices = [["", "any"], ...classes.map((name) => [name, name]), ...(videos.labels.includes(Rows.NONE) ? [["–", "no label"]] : [])];
  const used = (numbers) => [...new Set(numbers)].map((number) => [domains[number], domains[number]]);
  const asking = used(queries.map((video) => videos.domains[video]));
  const answering = used(spaces.flatMap((space) => space.neighbours).map((video) => videos.domains[video]));
  const chooses = (id, name) => at(id).addEventListener("change", () => state.set({ [name]: at(id).value, page: "" }));

  function types(id, name) {
    let timer = 0;
    at(id).addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => state.set({ [name]: at(id).value, page: "" }), TYPING_MS);
    });
  }

  function prepare() {
    for (const id of ["before", "after"]) choices(id, spaces.map((space) => [space.name, space.name]));
    choices("class", classChoices);
    choices("near", classChoices);
    choices("domain", [["", "any"], ...asking]);
    choices("near-domain", [["", "any"], ...answering]);
    choices("mix-domain", [["", "any"], ...Mixes.domains.map((name) => [name, name])]);
    choices("per", [...PER_PAGE.map(String), ...(queries.length < ALL_BELOW ? ["all"] : [])].map((value) => [value, value]));
    at("domain-label").hidden = asking.length < 2;
    at("near-domain-label").hidden = answering.length < 2;
    at("spaces").hidden = !both;
    if (!both) for (const value of ["newly-right", "newly-wrong", "change"]) document.querySelector(`option[value="${value}"]`).remove();
    at("motion").hidden = !Cards.moves;
    at("tabs").hidden = !Mixes.any;
    for (const id of ["before", "after", "show", "class", "near", "domain", "near-domain", "sort", "per"]) chooses(id, id);
    chooses("mix-domain", "mixes-domain");
    types("text", "text");
    types("mix-text", "mixes");
    for (const button of at("spaces").querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => state.set({ view: button.dataset.view === "after" ? "" : button.dataset.view }));
    }
    for (const name of ["rows", "mixes"]) at(`tab-${name}`).addEventListener("click", () => state.set({ tab: name === "rows" ? "" : name }));
    at("tabs").addEventListener("keydown", otherTab);
    at("order").addEventListener("click", () => state.set({ order: wished().down ? "" : "down", page: "" }));
    at("reset").addEventListener("click", clear);
    at("previous").addEventListener("click", () => turn(-1));
    at("next").addEventListener("click", () => turn(1));
    at("motion").addEventListener("click", toggleMotion);
    at("keys-button").addEventListener("click", () => at("keys").showModal());
    let resized = 0;
    addEventListener("resize", () => { cancelAnimationFrame(resized); resized = requestAnimationFrame(() => Cards.reachable(document)); });
  }

  const toggleMotion = () => state.set({ motion: still() ? "on" : "off" });
  function clear() {
    at("text").value = "";
    state.set(Object.fromEntries(["text", "show", "class", "near", "domain", "near-domain", "page"].map((name) => [name, ""])));
  }
  function otherTab(event) {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    state.set({ tab: tab() === "rows" ? "mixes" : "" });
    at(`tab-${tab()}`).focus();
  }

  // ── keys
  const search = () => { at(tab() === "rows" ? "text" : "mix-text").select(); };
  const keys = {
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
    ArrowRight: (row) => row.querySelectorAll(".neighbours").forEach((list) => list.scrollBy({ left: 160 })),
    ArrowLeft: (row) => row.querySelectorAll(".neighbours").forEach((list) => list.scrollBy({ left: -160 })),
    Enter: (row) => open(Number(row.dataset.row)),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const row = event.target.matches(".row[data-row]") ? event.target : null;
    const does = (row && inRow[event.key]) || (at("detail").open && !["j", "k", "m"].includes(event.key) ? null : keys[event.key]);
    if (!does) return;
    event.preventDefault();
    does(row);
  });

  prepare();
  state.onChange(show);
  show();
})();
