// The section on mistakes: confusion matrices before and after, what changed for each class, who is taken for whom.
"use strict";

const Matrix = (() => {
  const { el, fill, percent, count, hint, state } = Comix;
  const { runs } = Comix.values;
  // Beyond so many classes, cells are painted rather than written; the lists beneath hold the words.
  const MOST_WRITTEN = 30, MOST_SHARES = 14, MOST_LISTED = 8, MOST_ON_PAPER = 8;

  /** Counts over the seeds asked for, [true][predicted], from triples [true, predicted, n] of each seed. */
  function counts(run, head, seed) {
    const all = Parts.own(run.confusion.counts, head);
    const found = run.classes.map(() => run.classes.map(() => 0));
    for (const triples of seed === "all" ? all : [all[run.seeds.findIndex((one) => String(one) === seed)]]) {
      for (const [truth, guess, n] of triples) found[truth][guess] += n;
    }
    return found;
  }

  const headsOf = (run) => run.heads.filter((head) => Parts.own(run.confusion.counts, head));
  const ownLeft = (run) => (headsOf(run).includes(run.before) ? run.before : null);
  const ownRight = (run) => (headsOf(run).includes(run.after) ? run.after : headsOf(run)[0] ?? null);
  /** What a run shows: what is asked for in the link where it has that, else its own. */
  const asked = (run) => {
    const heads = headsOf(run), left = state.get("left"), right = state.get("right"), seed = state.get("seed", "all");
    return {
      left: heads.includes(left) ? left : ownLeft(run),
      right: heads.includes(right) ? right : ownRight(run),
      seed: run.seeds.some((one) => String(one) === seed) ? seed : "all",
      // One seed's counts are no sum, whatever is asked for.
      over: run.seeds.some((one) => String(one) === seed) ? 1 : run.seeds.length,
    };
  };

  const share = (row, place) => {
    const whole = Parts.total(row);
    return whole ? row[place] / whole : null;
  };
  const rightOf = (matrix) => {
    const whole = Parts.total(matrix.flat());
    return whole ? Parts.total(matrix.map((row, place) => row[place])) / whole : null;
  };

  function matrix(run, head, found, seed) {
    const of = seed !== "all" ? `seed ${seed}`
      : run.seeds.length > 1 ? `counts summed over ${run.seeds.length} seeds` : `seed ${run.seeds[0]}`;
    const name = Parts.headName(run, head);
    const title = `${Parts.apart(name)}: ${percent(rightOf(found))} % right`;
    const paints = run.classes.length > MOST_WRITTEN;
    const drawn = paints ? painted(run, found, `${title}, ${of}`) : written(run, found);
    return el("figure", { class: "confusion" },
      el("figcaption", {}, el("strong", {}, name), ` ${percent(rightOf(found))} % right `,
        el("span", { class: "soft" }, `(${of})${paints ? ", true ↓ predicted →" : ""}`)),
      Parts.wide(`Confusion matrix, ${title}`, drawn));
  }

  /** A table: rows are true classes, columns predictions; the shade is the share of the row. */
  function written(run, found) {
    const few = run.classes.length <= MOST_SHARES;
    const cell = (row, truth, guess) => {
      const part = share(row, guess);
      const shown = el("td", { class: truth === guess ? "own" : row[guess] ? "" : "none",
        title: `${Parts.apart(run.classes[truth])}, predicted ${Parts.apart(run.classes[guess])}: ${row[guess]} (${percent(part)} %)` },
        String(row[guess]), few && row[guess] ? el("small", {}, `${percent(part, 0)} %`) : null);
      shown.style.setProperty("--share", part ?? 0);
      return shown;
    };
    return el("table", { class: `matrix ${few ? "" : "dense"}` },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "corner" }, "true ↓ predicted →"),
        ...run.classes.map((name) => el("th", { scope: "col", title: name }, el("span", {}, Parts.name(name)))))),
      el("tbody", {}, ...found.map((row, truth) =>
        el("tr", {}, el("th", { scope: "row", title: run.classes[truth] }, Parts.name(run.classes[truth])),
          ...row.map((_, guess) => cell(row, truth, guess))))));
  }

  /** Too many classes to write: one square for each cell, whose words the pointer shows. */
  function painted(run, found, label) {
    const n = found.length, size = Math.max(3, Math.min(12, Math.floor(560 / n)));
    const [canvas, paper] = [{ role: "img", class: "screen-canvas",
      "aria-label": `${label}; ${n} classes. The list beneath names the most frequent confusions.` },
    { class: "paper", "aria-hidden": "true" }].map((attributes) => el("canvas", { ...attributes, width: n * size, height: n * size }));
    const box = el("div", { class: "painted" }, canvas, paper);
    box.style.width = `${n * size + 2}px`;
    Parts.paints(canvas, paper, (on) => {
      const pen = on.getContext("2d");
      pen.fillStyle = Comix.colour("--ground");
      pen.fillRect(0, 0, n * size, n * size);
      const heat = Comix.colour("--heat");
      found.forEach((row, truth) => row.forEach((number, guess) => {
        if (!number && truth !== guess) return;
        // The root lifts the rare confusions out of the ground; the hint has the numbers.
        pen.fillStyle = `rgba(${heat}, ${number ? 0.15 + 0.85 * Math.sqrt(share(row, guess)) : 0.06})`;
        pen.fillRect(guess * size, truth * size, size, size);
      }));
    })();
    canvas.addEventListener("pointermove", (event) => {
      const at = canvas.getBoundingClientRect();
      const guess = Math.floor(((event.clientX - at.left) / at.width) * n);
      const truth = Math.floor(((event.clientY - at.top) / at.height) * n);
      if (!(found[truth]?.[guess] >= 0)) { hint.hide(); return; }
      hint.show(event.clientX, event.clientY, el("div", {}, "true: ", Parts.name(run.classes[truth])),
        el("div", {}, "predicted: ", Parts.name(run.classes[guess])),
        el("strong", {}, `${found[truth][guess]} (${percent(share(found[truth], guess))} %)`));
    });
    canvas.addEventListener("pointerleave", hint.hide);
    return box;
  }

  /** Each class: share right before and after, the most gained first. */
  function classes(run, before, after, over) {
    const rows = after.map((row, place) => ({
      // Every seed predicts the same videos.
      name: run.classes[place], n: Parts.total(row) / over, after: share(row, place), before: before ? share(before[place], place) : null,
    })).filter((one) => one.n > 0);
    const gain = (one) => (before ? one.after - one.before : one.after);
    rows.sort((a, b) => gain(b) - gain(a) || a.name.localeCompare(b.name, "en"));
    const head = before ? ["class", "n", "0 – 100 %", "before", "after", "change"] : ["class", "n", "0 – 100 %", "right"];
    const cells = rows.map((one) => {
      const first = [Parts.name(one.name), count(one.n), Charts.dumbbell(one.before, one.after)];
      if (!before) return [...first, percent(one.after)];
      const change = Parts.points(gain(one));
      const way = change.startsWith("+") ? "right" : change.startsWith("−") ? "wrong" : "soft";
      const arrow = { right: "▲ ", wrong: "▼ ", soft: "" }[way];
      return [...first, percent(one.before), percent(one.after), el("span", { class: way }, `${arrow}${change}`)];
    });
    const title = `Share right in % for each class${summed(over)}; n is its number of videos${before ? ", the change is in points" : ""}.`;
    return Parts.wide("Change of each class", Parts.table(title, head, cells, { class: "classes" }),
      { class: rows.length > 16 ? "tall long" : "tall" });
  }

  const summed = (over) => (over > 1 ? `, summed over ${over} seeds` : "");

  /** Who is most often taken for whom, in words. */
  function confusions(run, before, after, over) {
    const pairs = after.flatMap((row, truth) => row.map((number, guess) => ({ number, truth, guess })))
      .filter((one) => one.truth !== one.guess && one.number > 0)
      .sort((a, b) => b.number - a.number || share(after[b.truth], b.guess) - share(after[a.truth], a.guess));
    if (!pairs.length) return el("p", {}, "No video is predicted wrong.");
    const lines = pairs.slice(0, MOST_LISTED).map(({ number, truth, guess }) => {
      const was = before ? `; before ${percent(share(before[truth], guess))} %` : "";
      return el("li", {}, el("strong", {}, Parts.name(run.classes[truth])), " taken for ",
        el("strong", {}, Parts.name(run.classes[guess])),
        `: ${count(number)} of ${count(Parts.total(after[truth]))} (${percent(share(after[truth], guess))} %${was})`);
    });
    const more = pairs.length - lines.length;
    return el("div", {},
      over > 1 ? el("p", { class: "soft small" }, `Predictions summed over ${over} seeds: each video counts ${over} times.`) : null,
      el("ol", { class: "confusions" }, ...lines),
      more > 0 ? el("p", { class: "soft small" }, `${Parts.plural(more, "other pair")} of classes, each less often.`) : null);
  }

  function block(run) {
    if (!run.confusion || !asked(run).right) {
      return el("p", { class: "note" }, run.imported ? "This model was imported: nothing was measured."
        : run.n_labelled ? "This run has no predictions to look at." : ["Nothing to compare with: ", Parts.name(run.measured_on), "."]);
    }
    const { left, right, seed, over } = asked(run);
    const before = left && left !== right ? counts(run, left, seed) : null;
    const after = counts(run, right, seed);
    return el("div", {},
      el("div", { class: Parts.several ? "" : `pair${run.classes.length > MOST_ON_PAPER ? " stacks" : ""}` },
        before ? matrix(run, left, before, seed) : null, matrix(run, right, after, seed)),
      el("div", { class: Parts.several ? "" : "pair stacks" },
        el("div", {}, el(Parts.several ? "h4" : "h3", {}, "By class"), classes(run, before, after, over)),
        el("div", {}, el(Parts.several ? "h4" : "h3", {}, "Most frequent confusions"), confusions(run, before, after, over))));
  }

  function controls() {
    const labelled = runs.filter((run) => run.confusion);
    if (!labelled.length) return null;
    const seeds = [...new Set(labelled.flatMap((run) => run.seeds))].sort((a, b) => a - b);
    const choices = (own) => labelled.map((run) => ({ run, heads: headsOf(run), own: own(run) }));
    return el("div", { class: "controls" },
      Parts.chooseHead("Before", "left", choices(ownLeft)),
      Parts.chooseHead("After", "right", choices(ownRight)),
      seeds.length > 1 ? Parts.choose("Seeds", "seed",
        [["all", "all, summed"], ...seeds.map((seed) => [String(seed), `seed ${seed}`])], "all") : null);
  }

  function show(body) {
    const place = el("div", {});
    // So many cells of 7 points are what the width of a sheet holds.
    const crowded = runs.some((run) => runs.length * (run.classes.length + 3) > 27);
    const paints = runs.some((run) => run.classes.length > MOST_WRITTEN);
    const measured = runs.filter((run) => run.confusion);
    const told = () => "Rows are true classes, columns predictions; the shade is the share of the row. "
      + (paints ? "Point at a cell for its numbers." : "A cell holds the number of videos"
        + `${measured.some((run) => asked(run).over > 1) ? ", summed over seeds" : ""}.`);
    const words = el("p", { class: "soft" });
    let shown = null;
    const draw = () => {
      const now = ["left", "right", "seed"].map((name) => state.get(name)).join("\n");
      if (now === shown) return;
      shown = now;
      words.textContent = told();
      fill(place, Parts.side(block, crowded));
    };
    draw();
    state.onChange(draw);
    fill(body, measured.length ? words : null, controls(), place);
  }

  return { show };
})();
