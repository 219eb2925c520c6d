// The page from its sections: what came out, in one sentence; what differs; accuracies; recipe and notes.
"use strict";

(() => {
  const { el, fill, percent, count, signed } = Comix;
  const { name } = Parts;
  const { values } = Comix;
  const { runs } = values;
  const GROUPS = { method: "Method", head: "Head", schedule: "Schedule", features: "Features", selection: "Choosing the step" };
  const body = (section) => document.querySelector(`#${section} > .body`);

  // ── the head
  const HOW = { last: "last step", selected: "step chosen without labels" };
  const headline = (...words) => el("p", { class: "headline" }, ...words);
  function sentence(run) {
    if (run.imported) return headline("This model was imported: nothing was measured.");
    if (!run.n_labelled) return headline(name(run.target), " has no labels here, so there is no accuracy to show.");
    const after = Parts.ofHead(run, run.after);
    if (!after || after.cell.mean === null) return headline("No accuracy is recorded in this run.");
    const before = run.before ? Parts.ofHead(run, run.before) : null;
    const gain = before && before.cell.mean !== null ? run.gain ?? { mean: after.cell.mean - before.cell.mean, half_width: null } : null;
    const how = run.bound ? `${run.method}: trained on the target’s labels` : `${run.method}, ${HOW[after.choice]}`;
    const gained = gain === null ? null : [", ", el("strong", {},
      `${Parts.points(gain.mean).replace("±", "")}${gain.half_width === null ? "" : ` ± ${percent(gain.half_width)}`} points`),
      ` over ${Parts.headName(run, run.before)} (${Parts.interval(before.cell)} %)`];
    return headline(el("strong", {}, `${Parts.interval(after.cell)} %`),
      ` of the target’s videos are right (${how})`, ...(gained ?? []), ".");
  }

  function evidence(run) {
    if (!run.rows.length) return "";
    const before = run.before ? Parts.ofHead(run, run.before)?.cell : null, after = Parts.ofHead(run, run.after)?.cell;
    const parts = [`${Parts.over(run.seeds)[0].toUpperCase()}${Parts.over(run.seeds).slice(1)}.`];
    if (before?.values && after?.values && after.values.length > 1) {
      const better = after.values.filter((value, place) => value > before.values[place]).length;
      const equal = after.values.filter((value, place) => value === before.values[place]).length;
      parts.push(`Better than ${Parts.headName(run, run.before)} in ${better} of ${after.values.length} seeds${equal ? `, equal in ${equal}` : ""}.`);
    }
    if (run.n_labelled > 0 && run.n_labelled < 1000) parts.push(`One video is ${percent(1 / run.n_labelled)} points.`);
    return parts.join(" ");
  }

  const way = (run) => [Parts.domain("source", run.source), " → ", Parts.domain("target", run.target)];

  function measured(run) {
    if (run.imported) return el("p", {}, "This model was imported: nothing was measured.");
    if (!run.n_labelled) return el("p", {}, name(run.measured_on));
    return el("p", {}, "Measured on ", name(run.measured_on), ".",
      run.bound ? " It is a bound: the head learnt from the target’s labels, which you do not have when you adapt."
        : run.transductive ? " These videos were also seen in training, without labels: on new ones the accuracy may be lower." : null);
  }

  function head(run) {
    const warnings = run.warnings.map((words) => el("p", { class: "note" }, el("strong", {}, "Warning: "), words));
    if (run.imported) return [sentence(run), ...warnings];
    if (!run.n_labelled) return [sentence(run), measured(run), ...warnings];
    return [sentence(run), el("p", { class: "soft" }, evidence(run)), measured(run), ...warnings];
  }

  function result() {
    const ways = new Set(runs.map((run) => `${run.source}\n${run.target}`));
    fill(document.getElementById("subtitle"), ways.size === 1 ? way(runs[0]) : `${runs.length} runs`,
      Parts.several ? null : el("span", { class: "soft" }, ` · ${runs[0].method} · `, name(runs[0].path)));
    fill(body("result"), Parts.several ? together() : head(runs[0]));
  }

  /** Of several runs: on what they were measured and what to beware of, once where it is the same. The table compares them. */
  function together() {
    const said = distinct(measured);
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
      if (names.length < runs.length) {
        made.prepend(el("span", { class: "soft" }, ...names.flatMap((one, place) => [place ? ", " : "", name(one)]), ": "));
      }
      return made;
    });
  }

  // ── what differs
  function differences() {
    const { fields, n_same: same } = values.differences;
    document.getElementById("differences").hidden = !Parts.several;
    if (!Parts.several) return;
    const rest = el("p", { class: "soft" }, `${Parts.plural(same, "other setting")} ${same === 1 ? "is" : "are"} the same in all runs.`);
    const rows = fields.map((field) => [el("code", {}, field.name), ...field.values.map(name)]);
    fill(body("differences"), rows.length
      ? Parts.wide("Differences of recipe", Parts.table("", ["setting", ...runs.map((run) => name(run.name))], rows, { class: "words" }))
      : el("p", {}, "Nothing in their recipes."), rest);
  }

  // ── accuracies
  function accuracies() {
    const known = runs.filter((run) => run.n_labelled && run.rows.length);
    if (!known.length) { fill(body("accuracy"), distinct(unknown)); return; }
    const cells = known.flatMap((run) => run.rows.flatMap((row) => Object.values(row.choices))).filter((cell) => cell.mean !== null);
    const all = cells.flatMap((cell) => [...(cell.values ?? []), cell.mean - (cell.half_width ?? 0), cell.mean + (cell.half_width ?? 0)]);
    const { low, high } = Charts.range(all.map((value) => Math.min(1, Math.max(0, value))), true);
    const phased = known.some((run) => run.rows.some((row) => over(run, row)));
    const beside = runs.some((run) => run.over_first);
    const rows = known.flatMap((run) => run.rows.map((row) => {
      // A head trained on target labels has no steps to choose from: its folds are read at the end.
      const chosen = Object.keys(Parts.CHOICES).map((choice) =>
        (row.phase === "supervised" && choice !== "last" ? "" : Parts.interval(row.choices[choice])));
      const title = Parts.several ? [el("span", { class: "soft" }, name(run.name), ": "), row.name] : row.name;
      const gains = [...(phased ? [over(run, row)] : []), ...(beside ? [overFirst(run, row)] : [])];
      return [title, ...chosen, ...gains, Charts.strip(row.choices.last, low, high)];
    }));
    const titles = [...(phased ? [overWhat(known)] : []), ...(beside ? [["last over ", name(runs[0].name), " [95 %]"]] : [])];
    const columns = ["", ...Object.values(Parts.CHOICES), ...titles, `last, ${percent(low, 0)} – ${percent(high, 0)} %`];
    const alike = known.every((run) => run.seeds.length === known[0].seeds.length);
    const seeds = alike ? Parts.over(known[0].seeds)
      : `mean ± 95 % over seeds (${known.map((run) => `${Parts.apart(run.name)}: ${run.seeds.length}`).join(", ")})`;
    const caption = `Target accuracy in %, ${seeds}. Dots are seeds, the stroke is their mean.`;
    const interval = beside ? el("p", { class: "soft small" }, "Over ", name(runs[0].name), ": in points, with the 95 % interval of a paired "
      + "bootstrap over videos and seeds; where it holds 0, the two may well be equally good.") : null;
    fill(body("accuracy"), Parts.wide("Accuracy", Parts.table(caption, columns, rows, { class: "accuracy" })),
      interval, distinct(chosenBy), Parts.details("Each seed", () => el("div", {}, ...known.map(perSeed))));
  }
  const unknown = (run) => (run.imported || !run.n_labelled ? measured(run)
    : el("p", { class: "note" }, "No seed of this run is finished, so nothing is measured."));
  /** What the gain within a run is over: as its first head is called, where all runs call it so. */
  function overWhat(known) {
    const called = new Set(known.filter((run) => run.rows.some((row) => over(run, row))).map((run) => Parts.headName(run, "source-only")));
    const one = called.size === 1 ? [...called][0] : "first head";
    return `last over ${Parts.several ? `its own ${one.replace(/^the /, "")}` : one}`;
  }
  /** A row's points over its run's first head, both at their last step. */
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
  const chosenBy = (run) => (run.n_labelled && run.rows.length && !run.bound ? el("p", { class: "soft small" },
    `Chosen without labels: ${run.selection}. The oracle uses the target's labels, which you do not have when you adapt.`) : null);

  function perSeed(run) {
    const columns = run.rows.flatMap((row) => Object.keys(Parts.CHOICES)
      .filter((choice) => (row.phase !== "supervised" || choice === "last") && row.choices[choice].values)
      .map((choice) => ({ title: `${row.name}, ${choice}`, cell: row.choices[choice] })));
    const rows = run.seeds.map((seed, place) => [String(seed), ...columns.map(({ cell }) =>
      [percent(cell.values[place]), el("span", { class: "soft" }, ` step ${count(cell.iterations?.[place] ?? 0)}`)])]);
    const title = [...(Parts.several ? [name(run.name), ": "] : []), "target accuracy in % and the step it is read at"];
    return Parts.wide("Accuracy of each seed", Parts.table(title, ["seed", ...columns.map((one) => one.title)], rows));
  }

  // ── recipe and notes
  function recipe(run) {
    const differing = new Set(values.differences.fields.map((field) => field.name));
    const groups = [...new Set(run.recipe.map((one) => one.group))];
    return el("div", {}, el("div", { class: Parts.several ? "" : "recipe" }, ...groups.map((group) =>
      el("div", { class: "panel" }, el(Parts.several ? "h4" : "h3", {}, Parts.own(GROUPS, group) ?? group),
        el("dl", {}, ...run.recipe.filter((one) => one.group === group).flatMap((one) => [
          el("dt", {}, one.name),
          el("dd", {}, name(one.value), differing.has(one.name) ? el("span", { class: "badge plain" }, "differs") : null)]))))),
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

  /** What fails in one section is said there, and is no reason to go without the others. */
  function drawn(section, draw) {
    try {
      draw(body(section));
    } catch (error) {
      fill(body(section), el("p", { class: "note" }, "This section could not be drawn; the others are complete. ",
        el("span", { class: "soft" }, name(String(error)))));
      console.error(error);
    }
  }

  drawn("result", result);
  drawn("differences", differences);
  drawn("accuracy", accuracies);
  drawn("training", Curves.show);
  drawn("mistakes", Matrix.show);
  drawn("map", Maps.show);
  drawn("recipe", last);
  contents();
})();
