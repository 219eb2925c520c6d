// Small charts of one kind each, as SVG: their colours are classes, so they follow the theme and print as they are.
"use strict";

const Charts = (() => {
  const { el, svg, hint, percent } = Comix;
  const WIDTH = 340, HEIGHT = 196, LEFT = 46, RIGHT = 10, TOP = 24, BOTTOM = 30;

  /** About `wanted` round numbers from low to high; of shares, whole hundredths. */
  function ticks(low, high, isShare, wanted = 4) {
    const raw = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * (isShare ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find((times) => times * power >= raw * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9) + 0; n * step <= high + step * 1e-6; n += 1) found.push(n * step + 0);
    const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9) + (String(step / power).includes(".5") ? 1 : 0));
    return found.map((value) => ({ value, text: isShare ? percent(value, Math.max(0, digits - 2)) : value.toFixed(Math.min(digits, 8)) }));
  }

  /** An axis that holds the numbers: shares end at 0 and 1, what is near zero begins there. */
  function range(numbers, isShare) {
    if (!numbers.length) return { low: 0, high: 1 };
    let low = Math.min(...numbers), high = Math.max(...numbers);
    if (isShare) {
      low = Math.max(0, Math.floor(low * 10 - 0.2) / 10);
      high = Math.min(1, Math.ceil(high * 10 + 0.2) / 10);
      return { low, high: high > low ? high : low + 0.1 };
    }
    if (low >= 0 && low < 0.6 * high) low = 0;
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return { low: low === 0 ? 0 : low - room, high: high + room };
  }

  const number = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    return value.toLocaleString("en-GB", size !== 0 && size < 0.001
      ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: size < 10 ? 3 : size < 1000 ? 1 : 0 });
  };

  /** Where each phase lies on the x axis, in order: as wide as it is long, but never less than a quarter. */
  function stretches(ends) {
    const all = ends.reduce((sum, [, end]) => sum + end, 0) || 1;
    const shares = ends.map(([, end]) => Math.max(0.25, end / all));
    const whole = shares.reduce((sum, share) => sum + share, 0);
    let from = LEFT;
    return ends.map(([phase, end], place) => {
      const begin = from;
      from += ((WIDTH - LEFT - RIGHT) * shares[place]) / whole;
      const long = from - begin;
      return { phase, end, from: begin, to: from, x: (step) => begin + (long * step) / (end || 1) };
    });
  }

  const line = (xs, ys) => {
    let pen = "M";
    let path = "";
    xs.forEach((x, place) => {
      if (ys[place] === null) { pen = "M"; return; }
      path += `${pen}${x.toFixed(1)} ${ys[place].toFixed(1)}`;
      pen = "L";
    });
    return path;
  };

  const MARKS = {
    last: (x, y) => svg("rect", { class: "at last", x: x - 3.5, y: y - 3.5, width: 7, height: 7 }),
    selected: (x, y) => svg("path", { class: "at selected", d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z` }),
    oracle: (x, y) => svg("path", { class: "at oracle", d: `M${x - 5} ${y - 3.5}h10l-5 8.5z` }),
  };
  const mark = (name) =>
    svg("svg", { class: "mark", viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" }, MARKS[name](7, 7));

  /** The mean over finished seeds (over all where none is) at every step that all of them have: {x, y}. */
  function meanOf(series, finished) {
    const done = series.filter((one) => finished.includes(one.seed));
    const counted = done.length ? done : series;
    const known = counted.map((one) => new Map(one.x.map((x, place) => [x, one.y[place]])));
    const xs = (counted[0]?.x ?? []).filter((x) => known.every((at) => (at.get(x) ?? null) !== null));
    return { n: counted.length, x: xs, y: xs.map((x) => Parts.mean(known.map((at) => at.get(x)))) };
  }

  /**
   * Lines over steps, phase after phase. chart: {label, kind, used, withLabels, finished: seeds, phases: {phase: series},
   * marks: [{name, phase, x, y}]}; scale: {low, high, ends: [[phase, last step]]}, which charts that are compared share.
   */
  function lines(chart, scale) {
    const isShare = chart.kind === "accuracy" || chart.kind === "pseudo";
    const words = isShare ? (value) => `${percent(value)} %` : number;
    const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * (value - scale.low)) / (scale.high - scale.low);
    const along = stretches(scale.ends);
    const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "lines", role: "img" });
    for (const { value, text } of ticks(scale.low, scale.high, isShare)) {
      drawn.append(
        svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
        svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end", class: "soft" }, text));
    }
    const told = [];
    along.forEach((stretch, place) => drawn.append(...phase(chart, stretch, place, along.length, y, told, words)));
    for (const one of chart.marks ?? []) {
      const stretch = along.find((some) => some.phase === one.phase);
      if (stretch && one.y !== null) drawn.append(MARKS[one.name](stretch.x(one.x), y(one.y)));
    }
    const sentence = told.length ? `${chart.label}: ${told.join("; ")}.` : `${chart.label}: no values.`;
    drawn.setAttribute("aria-label", [sentence, Parts.sentence(Parts.unused(chart) ?? "")].filter(Boolean).join(" "));
    follow(drawn, chart, along, words);
    return drawn;
  }

  function phase(chart, stretch, place, phases, y, told, words) {
    const series = chart.phases[stretch.phase] ?? [];
    const parts = [];
    if (place) parts.push(svg("line", { class: "between", x1: stretch.from, x2: stretch.from, y1: TOP - 12, y2: HEIGHT - BOTTOM }));
    parts.push(
      svg("line", { class: "axis", x1: stretch.from, x2: stretch.to, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      svg("text", { class: "soft", x: stretch.from + (place ? 5 : 0), y: TOP - 10 }, Parts.phaseName(stretch.phase, stretch.end)),
      svg("text", { class: "soft", x: stretch.to - (place < phases - 1 ? 3 : 0), y: HEIGHT - BOTTOM + 16, "text-anchor": "end" },
        `${place === phases - 1 ? "step " : ""}${Comix.count(stretch.end)}`));
    if (!place) parts.push(svg("text", { class: "soft", x: LEFT, y: HEIGHT - BOTTOM + 16 }, "0"));
    const over = meanOf(series, chart.finished);
    if (series.length > 1) {
      for (const one of series) {
        parts.push(svg("path", { class: "seed", d: line(one.x.map(stretch.x), one.y.map((value) => (value === null ? null : y(value)))) }));
      }
    }
    parts.push(svg("path", { class: "mean", d: line(over.x.map(stretch.x), over.y.map(y)) }));
    if (over.x.length === 1) parts.push(svg("circle", { class: "dot", cx: stretch.x(over.x[0]), cy: y(over.y[0]), r: 3.5 }));
    if (over.x.length) {
      const last = over.x.length - 1;
      const first = last ? `from ${words(over.y[0])} at step ${over.x[0]} to ` : "";
      told.push(`${Parts.phaseName(stretch.phase, stretch.end)}, mean of ${Parts.plural(over.n, "seed")}, `
        + `${first}${words(over.y[last])} at step ${over.x[last]}`);
    }
    return parts;
  }

  /** Beside the pointer: the step, the mean and each seed there. */
  function follow(drawn, chart, along, words) {
    const guide = svg("line", { class: "guide", y1: TOP - 4, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    drawn.append(guide);
    drawn.addEventListener("pointermove", (event) => {
      const box = drawn.getBoundingClientRect();
      const x = ((event.clientX - box.left) * WIDTH) / box.width;
      const stretch = along.find((one) => x <= one.to) ?? along[along.length - 1];
      const series = chart.phases[stretch.phase] ?? [];
      const steps = [...new Set(series.flatMap((one) => one.x))];
      if (!steps.length) { hint.hide(); return; }
      const step = steps.reduce((best, one) => (Math.abs(stretch.x(one) - x) < Math.abs(stretch.x(best) - x) ? one : best));
      const here = series.map((one) => ({ seed: one.seed, y: one.y[one.x.indexOf(step)] ?? null }));
      const over = meanOf(series, chart.finished);
      const mean = over.y[over.x.indexOf(step)];
      guide.setAttribute("x1", stretch.x(step));
      guide.setAttribute("x2", stretch.x(step));
      guide.setAttribute("visibility", "visible");
      hint.show(event.clientX, event.clientY,
        el("div", {}, `${Parts.phaseName(stretch.phase, stretch.end)}, step ${Comix.count(step)}`),
        el("strong", {}, mean === undefined ? "not all seeds" : `mean ${words(mean)}`),
        here.length > 1 ? el("div", { class: "soft" }, here.map((one) => `seed ${one.seed}: ${words(one.y)}`).join(" · ")) : null);
    });
    drawn.addEventListener("pointerleave", () => { hint.hide(); guide.setAttribute("visibility", "hidden"); });
  }

  /** One row of accuracies: seeds as dots, the mean as a stroke, its interval as a bar. The numbers stand beside it. */
  function strip(cell, low, high) {
    const x = (value) => 6 + (168 * (value - low)) / (high - low);
    const held = (value) => x(Math.min(high, Math.max(low, value)));
    const drawn = svg("svg", { class: "strip", viewBox: "0 0 180 20", width: 180, height: 20, "aria-hidden": "true" },
      svg("line", { class: "grid", x1: 6, x2: 174, y1: 10, y2: 10 }));
    if (!cell || cell.mean === null) return drawn;
    const half = cell.half_width ?? 0;
    drawn.append(svg("rect", { class: "band", x: held(cell.mean - half), y: 6, height: 8,
      width: Math.max(0, held(cell.mean + half) - held(cell.mean - half)) }));
    for (const value of cell.values ?? []) drawn.append(svg("circle", { class: "seed", cx: x(value), cy: 10, r: 3 }));
    drawn.append(svg("line", { class: "mean", x1: x(cell.mean), x2: x(cell.mean), y1: 2, y2: 18 }));
    return drawn;
  }

  /** From hollow (before) to full (after) on a line from 0 to 1. */
  function dumbbell(before, after) {
    const x = (share) => 7 + 166 * share;
    const drawn = svg("svg", { class: "dumbbell", viewBox: "0 0 180 20", width: 180, height: 20, "aria-hidden": "true" },
      svg("line", { class: "grid", x1: x(0), x2: x(1), y1: 10, y2: 10 }));
    if (after === null) return drawn;
    const way = before === null || before === after ? "same" : after > before ? "right" : "wrong";
    if (before !== null) {
      drawn.append(svg("line", { class: `way ${way}`, x1: x(before), x2: x(after), y1: 10, y2: 10 }),
        svg("circle", { class: `from ${way}`, cx: x(before), cy: 10, r: 4 }));
    }
    drawn.append(svg("circle", { class: `to ${way}`, cx: x(after), cy: 10, r: 5 }));
    return drawn;
  }

  return { lines, range, strip, dumbbell, mark, meanOf, number };
})();
