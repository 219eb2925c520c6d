// The training section: one chart for each term, in groups that say what it was used for.
"use strict";

const Curves = (() => {
  const { el, fill, percent } = Comix;
  const { runs } = Comix.values;
  const ORDER = ["warmstart", "adapt", "supervised"];
  const GROUPS = [
    ["loss", "Losses", "What training lowers: the mean over seeds, each seed faint behind it."],
    ["pseudo", "Pseudo-labels", "The share of target videos whose likeliest class would reach the threshold, p ≥ t, and how many "
      + "of these classes would be right."],
    ["score", "Scores without labels", "The score that chooses a step without labels."],
    ["accuracy", "Target accuracy", "What the target's own labels say."],
  ];

  /** The charts of a run by key: a head trained on target labels is another head, so it has charts of its own. */
  function chartsOf(run) {
    const charts = new Map();
    for (const curve of run.curves) {
      const bound = curve.phase === "supervised";
      const key = `${curve.kind} ${curve.term}${bound ? " supervised" : ""}`;
      if (!charts.has(key)) {
        const label = bound ? `${curve.label}, head trained on target labels` : curve.label;
        charts.set(key, { key, label, term: curve.term, kind: curve.kind, used: true, withLabels: false,
          finished: run.seeds, phases: {}, marks: [] });
      }
      const chart = charts.get(key);
      // A bound is trained on the target's labels: nothing of it is to be told from what was used.
      chart.used = chart.used && (curve.used || bound);
      chart.withLabels = chart.withLabels || Boolean(curve.measured_with_labels);
      chart.phases[curve.phase] = curve.series;
      if (curve.kind === "accuracy" && !bound) chart.marks.push(...marks(run, curve.phase));
    }
    return charts;
  }

  /** Where each seed's last, chosen and oracle steps are. The oracle first: what shares its place is drawn over it. */
  function marks(run, phase) {
    const row = run.rows.find((one) => one.phase === phase);
    if (!row) return [];
    return ["oracle", "last", "selected"].flatMap((name) => {
      const { iterations, values } = row.choices[name];
      return (iterations ?? []).map((x, place) => ({ name, phase, x, y: values ? values[place] : null }));
    });
  }

  /** One scale for the same chart of all runs. */
  function scaleOf(charts) {
    const numbers = charts.flatMap((chart) => Object.values(chart.phases).flat().flatMap((one) => one.y))
      .concat(charts.flatMap((chart) => chart.marks.map((mark) => mark.y))).filter((value) => value !== null);
    const isShare = ["accuracy", "pseudo"].includes(charts[0].kind);
    const ends = ORDER.flatMap((phase) => {
      const steps = charts.flatMap((chart) => (chart.phases[phase] ?? []).flatMap((one) => one.x));
      return steps.length ? [[phase, Math.max(...steps)]] : [];
    });
    return { ...Charts.range(numbers, isShare), ends };
  }

  function figure(chart, scale) {
    const ends = scale.ends.map(([phase]) => Charts.meanOf(chart.phases[phase] ?? [], chart.finished).y.at(-1));
    const at = ends.filter((y) => y !== undefined).at(-1);
    const isShare = ["accuracy", "pseudo"].includes(chart.kind);
    const said = at === undefined ? "" : ` ${isShare ? `${percent(at)} %` : Charts.number(at)} at the end`;
    return el("figure", { class: `chart ${chart.kind}${chart.used ? "" : " unused"}` },
      el("figcaption", {}, el("strong", {}, chart.label), el("span", { class: "soft" }, said),
        chart.used ? null : el("div", {}, el("span", { class: "badge plain" }, Parts.unused(chart)))),
      Charts.lines(chart, scale));
  }

  const legend = () => el("p", { class: "legend small" },
    ...["last", "selected", "oracle"].map((name) => el("span", {}, Charts.mark(name), ` ${Parts.CHOICES[name]}`)),
    el("span", { class: "soft" }, "one mark for each seed"));

  /** All means as a table: what the charts say, for those who read rather than look. */
  function numbers(run) {
    const charts = [...chartsOf(run).values()];
    const rows = ORDER.flatMap((phase) => {
      const means = charts.map((chart) => Charts.meanOf(chart.phases[phase] ?? [], chart.finished));
      const steps = [...new Set(means.flatMap((one) => one.x))].sort((a, b) => a - b);
      return steps.map((step) => [`${Parts.phaseName(phase, steps.at(-1))} ${step}`, ...means.map((one, place) => {
        const value = one.y[one.x.indexOf(step)];
        return ["accuracy", "pseudo"].includes(charts[place].kind) ? percent(value) : Charts.number(value);
      })]);
    });
    const columns = ["step", ...charts.map((chart) => chart.label)];
    return Parts.wide(`Means of ${Parts.apart(run.name)}`,
      Parts.table([Parts.name(run.name), ": means over seeds"], columns, rows, { class: "small" }));
  }

  function show(body) {
    const each = runs.map(chartsOf);
    const keys = [...new Set(each.flatMap((charts) => [...charts.keys()]))];
    const groups = GROUPS.map(([kind, title, words]) => {
      const mine = keys.filter((key) => key.startsWith(`${kind} `));
      if (!mine.length) return null;
      const charts = mine.map((key) => {
        const same = each.map((of) => of.get(key));
        const scale = scaleOf(same.filter(Boolean));
        if (!Parts.several) return figure(same[0], scale);
        return Parts.wide("Runs side by side", el("div", { class: "side" }, ...same.map((chart, place) =>
          el("div", { class: "column" }, el("p", { class: "run small" }, Parts.name(runs[place].name)),
            chart ? figure(chart, scale) : el("p", { class: "soft small" }, "not in this run")))));
      });
      return el("div", { class: `group span-${Math.min(3, charts.length)}` },
        el("h3", {}, title), el("p", { class: "soft small" }, words),
        el("div", { class: "multiples" }, ...charts), kind === "accuracy" ? legend() : null);
    }).filter(Boolean);
    fill(body, groups.length ? el("div", { class: Parts.several ? "" : "groups" }, ...groups)
      : el("p", {}, "No curve was written by this run."),
      groups.length ? Parts.details("The curves as numbers", () => el("div", {}, ...runs.map(numbers))) : null);
  }

  return { show };
})();
