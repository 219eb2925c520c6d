// What the parts of the report share: numbers as the command line prints them, marks with their words, tables, columns.
"use strict";

const Parts = (() => {
  const { el, svg, percent, signed, count } = Comix;
  const { runs } = Comix.values;

  const CHOICES = { last: "last", selected: "chosen without labels", oracle: "oracle (peeks at target labels)" };
  const PHASES = { warmstart: "warm-start", adapt: "adaptation", supervised: "on target labels" };

  const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

  /** "88.7 ± 0.5"; without an interval where there is one seed, "–" where there is no number. */
  const interval = (cell) => {
    if (!cell || cell.mean === null) return "–";
    return cell.half_width === null ? percent(cell.mean) : `${percent(cell.mean)} ± ${percent(cell.half_width)}`;
  };

  /** A difference of shares in points: "+6.7", "−0.3", "±0.0". */
  const points = (share) => {
    const rounded = Math.round(share * 1000) / 10;
    return signed(rounded === 0 ? 0 : rounded);
  };

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

  const headNames = { "source-only": "source-only", last: "last step", selected: "step chosen without labels" };
  const headName = (run, head) => {
    if (head === "backbone") return "backbone features";
    return run.before === null && head !== "source-only" ? `${run.method}, ${headNames[head] ?? head}` : headNames[head] ?? head;
  };

  /** A circle for the source, a triangle for the target, as on the maps. */
  const domainMark = (role) =>
    svg("svg", { class: `mark ${role}`, viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
      role === "source" ? svg("circle", { cx: 7, cy: 7, r: 5 }) : svg("path", { d: "M7 1 L13.2 12.4 L0.8 12.4 Z" }));
  const domain = (role, name) => el("span", { class: "domain" }, domainMark(role), ` ${name}`);

  /** "set1 (source)"; just "source" where the domain has no other name. */
  const named = (run, role) => (run[role] === role ? role : `${run[role]} (${role})`);

  /** Right and wrong in shape, word and colour. */
  const verdict = (right) =>
    el("span", { class: `badge ${right ? "right" : "wrong"}` }, right ? "✓ right" : "✗ wrong");

  const measuredOnly = () => el("span", { class: "badge plain" }, "measured only – not used for training or selection");

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
      el("div", { class: "column" }, el("h3", { class: "run" }, run.name), block(run, place)));
    return wide("Runs side by side", el("div", { class: crowded ? "side crowded" : "side" }, ...columns));
  }

  /** A select with a label, whose choice is `name` in the link. choices: [[value, text]]. */
  function choose(label, name, choices, chosen) {
    const options = choices.map(([value, text]) => el("option", { value }, text));
    const select = el("select", { change: () => Comix.state.set({ [name]: select.value }) }, ...options);
    const show = () => {
      const asked = Comix.state.get(name, chosen);
      select.value = choices.some(([value]) => value === asked) ? asked : chosen;
    };
    show();
    Comix.state.onChange(show);
    return el("label", {}, label, select);
  }

  /** A tick box whose state is `name` in the link: "1" when ticked (or "0" when unticked, if it is on as a rule). */
  function tick(label, name, usually = false) {
    const box = el("input", {
      type: "checkbox",
      change: () => Comix.state.set({ [name]: box.checked === usually ? "" : box.checked ? "1" : "0" }),
    });
    const show = () => { box.checked = Comix.state.get(name, usually ? "1" : "0") === "1"; };
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

  return { CHOICES, PHASES, mean, total, interval, points, plural, over, ofHead, headName, domainMark, domain, named, verdict,
    measuredOnly, table, wide, side, choose, tick, details, paints, several: runs.length > 1 };
})();
