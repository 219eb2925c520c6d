// What the parts of the report share: numbers as the command line prints them, marks with their words, tables, columns.
"use strict";

const Parts = (() => {
  const { el, svg, signed, count } = Comix;
  const { runs } = Comix.values;

  const CHOICES = { last: "last", selected: "chosen without labels", oracle: "oracle (peeks at target labels)" };
  const PHASES = { warmstart: "warm-start", adapt: "adaptation", supervised: "on target labels" };
  /** What a phase is called that ends at some step: a run may begin with a head, and look at that alone. */
  const phaseName = (phase, end) => (phase === "warmstart" && end === 0 ? "start" : PHASES[phase]);

  /** What an object itself holds under a key from a link or from data: "constructor" is no head. */
  const own = (object, key) => (object !== null && object !== undefined && Object.hasOwn(object, key) ? object[key] : undefined);

  /** A name from data: letters that run the other way turn round within it, and not what stands beside it. */
  const name = (text) => el("bdi", {}, text);
  /** The same where there are no elements, as in attributes: between isolates, if it has such letters or signs. */
  const TURNING = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff]/;
  const apart = (text) => (TURNING.test(text) ? `\u2068${text}\u2069` : text);

  /** Made when first asked for, so that what can't be made stops one section and not the page. */
  function once(make) {
    let made = null;
    return () => { made ??= { value: make() }; return made.value; };
  }

  /** As a sentence that stands alone. */
  const sentence = (words) => (words ? `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}` : "");

  const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

  /** "88.7 ± 0.5", as the command line has it; without an interval where there is one seed, "–" where there is no number. */
  const interval = (cell) => (!cell || cell.mean === null ? "–" : cell.text);

  /** A difference of shares in points: "+6.7", "−0.3", "±0.0". */
  const points = (share) => signed(100 * share);

  const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

  /** How "± " is to be read for this many seeds. */
  const over = (seeds) =>
    seeds.length > 1 ? `${seeds.length} seeds, mean ± 95 % over seeds` : seeds.length ? "one seed, so no interval" : "no seed is finished";

  /** The accuracies of a head: {row, choice, cell}; null where the run has no such row. */
  function ofHead(run, head) {
    const adapted = run.rows.find((row) => row.phase === "adapt");
    const first = run.rows.find((row) => row.phase === "warmstart");
    const row = head === "source-only" ? first : adapted ?? first ?? run.rows[0];
    const choice = head === "selected" ? "selected" : "last";
    return row ? { row, choice, cell: row.choices[choice] } : null;
  }

  const headName = (run, head) => own(run.head_names, head) ?? (head === "backbone" ? "backbone features" : head);
  /** What some runs call a head: their names for it, where they have several. */
  const headNames = (some, head) => [...new Set(some.map((run) => headName(run, head)))].join(" / ");

  /** A circle for the source, a triangle for the target, as on the maps. */
  const domainMark = (role) =>
    svg("svg", { class: `mark ${role}`, viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
      role === "source" ? svg("circle", { cx: 7, cy: 7, r: 5 }) : svg("path", { d: "M7 1 L13.2 12.4 L0.8 12.4 Z" }));
  const domain = (role, called) => el("span", { class: "domain" }, domainMark(role), " ", name(called));

  /** "set1 (source)"; just "source" where the domain has no other name. */
  const named = (run, role) => (run[role] === role ? role : `${run[role]} (${role})`);

  /** Right and wrong in shape, word and colour. */
  const verdict = (right) =>
    el("span", { class: `badge ${right ? "right" : "wrong"}` }, right ? "✓ right" : "✗ wrong");

  /** What a curve was measured with, where it was of no use: {used, withLabels}; null where it was used. */
  const unused = ({ used, withLabels }) => {
    if (used) return null;
    return withLabels ? "measured with the target’s labels – not used" : "measured only";
  };

  /** A table from texts and elements: head is a list of columns, rows a list of lists, their first cell a row's name. */
  function table(caption, head, rows, attributes = {}) {
    return el("table", attributes,
      caption ? el("caption", {}, caption) : null,
      el("thead", {}, el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)))),
      el("tbody", {}, ...rows.map((row) =>
        el("tr", {}, ...row.map((cell, place) => (place ? el("td", {}, cell) : el("th", { scope: "row" }, cell)))))));
  }

  // What is wider than its place scrolls in it, and then takes the focus, so that the keyboard can scroll it too.
  const fits = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const box = target.classList.contains("wide") ? target : target.parentElement;
      if (box === null) continue;
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.setAttribute("tabindex", "0");
      else box.removeAttribute("tabindex");
    }
  });
  function wide(label, child, attributes = {}) {
    const box = el("div", { ...attributes, class: `wide ${attributes.class ?? ""}`, role: "region", "aria-label": label }, child);
    fits.observe(box);
    fits.observe(child);
    return box;
  }

  /** One block for each run, beside each other under their names (on paper beneath, if crowded); a single run's block as it is. */
  function side(block, crowded = false) {
    if (runs.length === 1) return el("div", {}, block(runs[0], 0));
    const columns = runs.map((run, place) =>
      el("div", { class: "column" }, el("h3", { class: "run" }, name(run.name)), block(run, place)));
    return wide("Runs side by side", el("div", { class: crowded ? "side crowded" : "side" }, ...columns));
  }

  /** A select with a label, whose choice is `key` in the link. choices: [[value, text]]. */
  function choose(label, key, choices, chosen) {
    const options = choices.map(([value, text]) => el("option", { value }, text));
    const select = el("select", { change: () => Comix.state.set({ [key]: select.value }) }, ...options);
    const show = () => {
      const asked = Comix.state.get(key, chosen);
      select.value = choices.some(([value]) => value === asked) ? asked : chosen;
    };
    show();
    Comix.state.onChange(show);
    return el("label", {}, label, select);
  }

  /**
   * A select of heads, for all runs that have some: [{run, heads, own: the head it shows unless asked, or null}].
   * Of several runs each shows its own as a rule; a run that lacks the head that is asked for goes on doing so.
   */
  function chooseHead(label, key, some) {
    const heads = [...new Set(some.flatMap((one) => one.heads))];
    if (heads.length < 2) return null;
    const choices = heads.map((head) => [head, headNames(some.filter((one) => one.heads.includes(head)).map(({ run }) => run), head)]);
    const usual = runs.length > 1 ? "" : some[0].own ?? "";
    if (usual === "") choices.unshift(["", runs.length > 1 ? "each run’s own" : "none"]);
    return choose(label, key, choices, usual);
  }

  /** A tick box whose state is `key` in the link: "1" when ticked (or "0" when unticked, if it is on as a rule). */
  function tick(label, key, usually = false) {
    const box = el("input", {
      type: "checkbox",
      change: () => Comix.state.set({ [key]: box.checked === usually ? "" : box.checked ? "1" : "0" }),
    });
    const show = () => { box.checked = Comix.state.get(key, usually ? "1" : "0") === "1"; };
    show();
    Comix.state.onChange(show);
    return el("label", { class: "tick" }, box, label);
  }

  const details = (summary, make) => {
    const box = el("details", {}, el("summary", {}, summary));
    // Made when first looked at: a page of many runs opens at once.
    box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(make()); });
    return box;
  };

  // Canvases hold colours, not names of colours: they are painted again for another theme. What is painted while a page is
  // being printed comes too late, so a dark page keeps a second, light canvas for paper.
  const painted = new Map();
  const root = document.documentElement;
  const themeNow = () => root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  function lightly(paint) {
    const { theme } = root.dataset;
    root.dataset.theme = "light";
    paint();
    if (theme === undefined) delete root.dataset.theme;
    else root.dataset.theme = theme;
  }
  // All papers in one turn: each change of theme has the browser look at every element's style again.
  const waiting = new Set();
  function paintPapers() {
    lightly(() => { for (const { paper, paint } of waiting) paint(paper); });
    waiting.clear();
  }
  function repaint(screen) {
    const one = painted.get(screen);
    const dark = themeNow() === "dark";
    one.paint(screen);
    if (dark) {
      if (!waiting.size) queueMicrotask(paintPapers);
      waiting.add(one);
    }
    one.paper.parentElement?.classList.toggle("papered", dark);
  }
  Comix.onTheme(() => {
    for (const screen of [...painted.keys()]) {
      if (screen.isConnected) repaint(screen);
      else painted.delete(screen);
    }
  });
  /** paint(canvas) draws on either canvas, with the colours of the moment; what is returned paints both anew. */
  function paints(screen, paper, paint) {
    painted.set(screen, { paper, paint });
    return () => repaint(screen);
  }

  return { CHOICES, phaseName, own, name, apart, once, sentence, mean, total, interval, points, plural, over, ofHead, headName,
    headNames, domainMark, domain, named, verdict, unused, table, wide, side, choose, chooseHead, tick, details, paints,
    several: runs.length > 1 };
})();
