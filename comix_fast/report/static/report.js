// The page from its sections: what came out, in one sentence; what differs; accuracies; recipe and notes.
"use strict";

(() => {
  const { el, fill, percent, count, signed } = Comix;
  const { values } = Comix;
  const { runs } = values;
  const GROUPS = { method: "Method", head: "Head", schedule: "Schedule", features: "Features", selection: "Choosing the step" };
  const body = (name) => document.querySelector(`#${name} > .body`);

  // ── the head
  function sentence(run) {
    if (!run.n_labelled) return el("p", { class: "headline" }, `${run.target} has no labels here, so there is no accuracy to show.`);
    const after = Parts.ofHead(run, run.after);
    if (!after || after.cell.mean === null) return el("p", { class: "headline" }, "No accuracy is recorded in this run.");
    const before = run.before ? Parts.ofHead(run, run.before) : null;
    const gain = before && before.cell.mean !== null ? run.gain ?? { mean: after.cell.mean - before.cell.mean, half_width: null } : null;
    const how = `${run.method}, ${after.choice === "last" ? "last step" : Parts.CHOICES[after.choice]}`;
    const gained = gain === null ? null : [", ", el("strong", {},
      `${Parts.points(gain.mean).replace("±", "")}${gain.half_width === null ? "" : ` ± ${percent(gain.half_width)}`} points`),
      ` over source-only (${Parts.interval(before.cell)} %)`];
    return el("p", { class: "headline" }, el("strong", {}, `${Parts.interval(after.cell)} %`),
      ` of the target’s videos are right (${how})`, ...(gained ?? []), ".");
  }

  function evidence(run) {
    if (!run.rows.length) return "";
    const before = run.before ? Parts.ofHead(run, run.before)?.cell : null, after = Parts.ofHead(run, run.after)?.cell;
    const parts = [`${Parts.over(run.seeds)[0].toUpperCase()}${Parts.over(run.seeds).slice(1)}.`];
    if (before?.values && after?.values && after.values.length > 1) {
      const better = after.values.filter((value, place) => value > before.values[place]).length;
      const equal = after.values.filter((value, place) => value === before.values[place]).length;
      parts.push(`Better than source-only in ${better} of ${after.values.length} seeds${equal ? `, equal in ${equal}` : ""}.`);
    }
    if (run.n_labelled > 0 && run.n_labelled < 1000) parts.push(`One video is ${percent(1 / run.n_labelled)} points.`);
    return parts.join(" ");
  }

  const way = (run) => [Parts.domain("source", run.source), " → ", Parts.domain("target", run.target)];

  function measured(run) {
    return el("p", {}, `Measured on ${run.measured_on}.`,
      run.transductive && run.n_labelled
        ? " These videos were also seen in training, without labels: on new ones the accuracy may be lower." : null);
  }

  function head(run) {
    const warnings = run.warnings.map((words) => el("p", { class: "note" }, el("strong", {}, "Warning: "), words));
    if (!run.n_labelled) return [sentence(run), el("p", {}, run.measured_on), ...warnings];
    return [sentence(run), el("p", { class: "soft" }, evidence(run)), measured(run), ...warnings];
  }

  function result() {
    const ways = new Set(runs.map((run) => `${run.source}\n${run.target}`));
    fill(document.getElementById("subtitle"), ways.size === 1 ? way(runs[0]) : `${runs.length} runs`,
      Parts.several ? null : el("span", { class: "soft" }, ` · ${runs[0].method} · ${runs[0].path}`));
    fill(body("result"), Parts.several ? together() : head(runs[0]));
  }

  /** Of several runs: on what they were measured and what to beware of, once where it is the same. The table compares them. */
  function together() {
    const said = distinct((run) => (run.n_labelled ? measured(run) : el("p", {}, run.measured_on)));
    const warned = distinct((run) => (run.warnings.length
      ? el("p", { class: "note" }, el("strong", {}, "Warning: "), run.warnings.join(" · ")) : null));
    return [el("h2", { class: "unseen" }, "Measured on"), ...said, ...warned];
  }

  /** Paragraphs of all runs, equal ones once, the others after the names of their runs. */
  function distinct(make) {
    const found = new Map();
    for (const run of runs) {
      const made = make(run);
      if (made === null) continue;
      const mine = found.get(made.textContent) ?? { made, names: [] };
      mine.names.push(run.name);
      found.set(made.textContent, mine);
    }
    return [...found.values()].map(({ made, names }) => {
      if (names.length < runs.length) made.prepend(el("span", { class: "soft" }, `${names.join(", ")}: `));
      return made;
    });
  }

  // ── what differs
  function differences() {
    const { fields, n_same: same } = values.differences;
    document.getElementById("differences").hidden = !Parts.several;
    if (!Parts.several) return;
    const rest = el("p", { class: "soft" }, `${Parts.plural(same, "other setting")} ${same === 1 ? "is" : "are"} the same in all runs.`);
    const rows = fields.map((field) => [el("code", {}, field.name), ...field.values]);
    fill(body("differences"), rows.length
      ? Parts.wide("Differences of recipe", Parts.table("", ["setting", ...runs.map((run) => run.name)], rows, { class: "words" }))
      : el("p", {}, "Nothing in their recipes."), rest);
  }

  // ── accuracies
  function accuracies() {
    const known = runs.filter((run) => run.n_labelled && run.rows.length);
    if (!known.length) { fill(body("accuracy"), el("p", { class: "note" },
      runs[0].n_labelled ? "No seed of this run is finished, so nothing is measured." : runs[0].measured_on)); return; }
    const cells = known.flatMap((run) => run.rows.flatMap((row) => Object.values(row.choices))).filter((cell) => cell.mean !== null);
    const all = cells.flatMap((cell) => [...(cell.values ?? []), cell.mean - (cell.half_width ?? 0), cell.mean + (cell.half_width ?? 0)]);
    const { low, high } = Charts.range(all.map((value) => Math.min(1, Math.max(0, value))), true);
    const phased = known.some((run) => run.rows.some((row) => over(run, row)));
    const beside = runs.some((run) => run.over_first);
    const rows = known.flatMap((run) => run.rows.map((row) => {
      // A head trained on target labels has no steps to choose from: its folds are read at the end.
      const chosen = ["last", "selected", "oracle"].map((name) =>
        (row.phase === "supervised" && name !== "last" ? "" : Parts.interval(row.choices[name])));
      const name = Parts.several ? [el("span", { class: "soft" }, `${run.name}: `), row.name] : row.name;
      const gains = [...(phased ? [over(run, row)] : []), ...(beside ? [overFirst(run, row)] : [])];
      return [name, ...chosen, ...gains, Charts.strip(row.choices.last, low, high)];
    }));
    const titles = [...(phased ? [`last over ${Parts.several ? "its own " : ""}source-only`] : []), ...(beside ? [`last over ${runs[0].name} [95 %]`] : [])];
    const columns = ["", ...Object.values(Parts.CHOICES), ...titles, `last, ${percent(low, 0)} – ${percent(high, 0)} %`];
    const alike = known.every((run) => run.seeds.length === known[0].seeds.length);
    const seeds = alike ? Parts.over(known[0].seeds)
      : `mean ± 95 % over seeds (${known.map((run) => `${run.name}: ${run.seeds.length}`).join(", ")})`;
    const caption = `Target accuracy in %, ${seeds}. Dots are seeds, the stroke is their mean.`;
    const interval = beside ? el("p", { class: "soft small" }, `Over ${runs[0].name}: in points, with the 95 % interval of a paired `
      + "bootstrap over videos and seeds; where it holds 0, the two may well be equally good.") : null;
    fill(body("accuracy"), Parts.wide("Accuracy", Parts.table(caption, columns, rows, { class: "accuracy" })),
      interval, distinct(chosenBy), Parts.details("Each seed", () => el("div", {}, ...known.map(perSeed))));
  }
  /** A row's points over its run's source-only, both at their last step. */
  function over(run, row) {
    const first = run.rows.find((one) => one.phase === "warmstart");
    if (!first || first === row || row.choices.last.mean === null || first.choices.last.mean === null) return "";
    return Parts.points(row.choices.last.mean - first.choices.last.mean);
  }
  /** A run's result over that of the first run; in the row of its last phase, whose heads are its result. */
  function overFirst(run, row) {
    if (!run.over_first || row !== run.rows.at(-1)) return "";
    const { points, low, high } = run.over_first;
    return `${signed(points)} [${signed(low)}, ${signed(high)}]`;
  }
  const chosenBy = (run) => (run.n_labelled && run.rows.length ? el("p", { class: "soft small" },
    `Chosen without labels: ${run.selection}. The oracle looks at the target's labels, which who adapts does not have.`) : null);

  function perSeed(run) {
    const columns = run.rows.flatMap((row) => Object.keys(Parts.CHOICES)
      .filter((name) => (row.phase !== "supervised" || name === "last") && row.choices[name].values)
      .map((name) => ({ title: `${row.name}, ${name}`, cell: row.choices[name] })));
    const rows = run.seeds.map((seed, place) => [String(seed), ...columns.map(({ cell }) =>
      [percent(cell.values[place]), el("span", { class: "soft" }, ` step ${count(cell.iterations?.[place] ?? 0)}`)])]);
    const title = `${Parts.several ? `${run.name}: ` : ""}target accuracy in % and the step it is read at`;
    return Parts.wide("Accuracy of each seed", Parts.table(title, ["seed", ...columns.map((one) => one.title)], rows));
  }

  // ── recipe and notes
  function recipe(run) {
    const differing = new Set(values.differences.fields.map((field) => field.name));
    const groups = [...new Set(run.recipe.map((one) => one.group))];
    return el("div", {}, el("div", { class: Parts.several ? "" : "recipe" }, ...groups.map((group) =>
      el("div", { class: "panel" }, el(Parts.several ? "h4" : "h3", {}, GROUPS[group] ?? group),
        el("dl", {}, ...run.recipe.filter((one) => one.group === group).flatMap((one) => [
          el("dt", {}, one.name),
          el("dd", {}, one.value, differing.has(one.name) ? el("span", { class: "badge plain" }, "differs") : null)]))))),
      run.warnings.length ? [el("h4", {}, "Warnings"), el("ul", {}, ...run.warnings.map((words) => el("li", {}, words)))] : null,
      run.notes.length ? [el("h4", {}, "Notes of the run"), el("ul", {}, ...run.notes.map((words) => el("li", {}, words)))] : null);
  }

  function last() {
    const { made } = values;
    const { notes } = values;
    fill(body("recipe"), Parts.side(recipe),
      notes.length ? [el("h3", {}, "Notes of this page"), el("ul", {}, ...notes.map((words) => el("li", {}, words)))] : null,
      el("h3", {}, "How this page was made"),
      Parts.wide("Command", el("pre", {}, el("code", {}, made.command))),
      el("p", { class: "soft small" }, `comix-fast ${made.version}, ${made.on}`));
  }

  // ── the list of sections: the link's state is not theirs to replace
  function contents() {
    const links = [...document.querySelectorAll("main section:not([hidden]) > h2")].map((title) =>
      el("a", { href: `#${title.parentElement.id}`, click: (event) => {
        event.preventDefault();
        title.scrollIntoView();
        title.focus({ preventScroll: true });
      } }, title.textContent));
    fill(document.getElementById("contents"), ...links);
  }

  result();
  differences();
  accuracies();
  Curves.show(body("training"));
  Matrix.show(body("mistakes"));
  Maps.show(body("map"));
  last();
  contents();
})();
