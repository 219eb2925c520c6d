// The maps before and after: colours, filters, one video lit on all of them, and who the neighbours are.
"use strict";

const Maps = (() => {
  const { el, fill, percent, say, state } = Comix;
  const { runs, pictures } = Comix.values;
  const MOST_NAMES = 16;
  const MARKS = [0, 1, 2, 3, 4, 5, 7, 6];

  // One colour for a class on all maps, whatever its number in each run.
  const classes = Parts.once(() => {
    const names = [...new Set(Pins.mapped.flatMap((run) => run.classes))];
    return { names, numberOf: new Map(names.map((name, number) => [name, number])) };
  });

  const SHARE = 0.45;
  const place = (number) => ({ mark: `--mark-${MARKS[number % 8]}`, towards: [null, "--ground", "--text"][Math.floor(number / 8) % 3] });
  /** A class's colour for CSS, which finds it anew for each theme and for paper. */
  const named = (number) => {
    const { mark, towards } = place(number);
    return towards === null ? `var(${mark})` : `color-mix(in srgb, var(${mark}) ${100 * (1 - SHARE)}%, var(${towards}))`;
  };
  const rgb = (hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
  const mixed = (a, b, share) => `rgb(${rgb(a).map((one, place) => Math.round(one * (1 - share) + rgb(b)[place] * share)).join(", ")})`;
  /** Eight colours that can be told apart, then lighter and darker ones of each: names and filters do the rest. */
  function palette() {
    const found = new Map();
    const at = (name) => found.get(name) ?? found.set(name, Comix.colour(name)).get(name);
    return classes().names.map((_, number) => {
      const { mark, towards } = place(number);
      return towards === null ? at(mark) : mixed(at(mark), at(towards), SHARE);
    });
  }

  const only = () => new Set(state.get("only").split(".").filter((text) => /^\d+$/.test(text)).map(Number)
    .filter((n) => n < classes().names.length));
  const usual = Parts.once(() => (Pins.mapped.some((run) =>
    run.map.videos.some((video) => video.role === "target" && video.label !== null)) ? "class" : "prediction"));
  const colouring = () => {
    const asked = state.get("colour", usual());
    return ["class", "prediction", "domain"].includes(asked) ? asked : usual();
  };

  /** How each point of a space looks now. */
  function looks(run, space) {
    const by = colouring(), chosen = only(), colours = palette();
    const unknown = Comix.colour("--edge");
    const roles = { source: Comix.colour("--source"), target: Comix.colour("--target") };
    const ring = state.get("wrong") === "1", videos = run.map.videos;
    const classOf = videos.map((video, index) =>
      (by === "prediction" ? space.predicted?.[index] ?? null : video.label));
    const numbers = classOf.map((label) => (label === null ? null : classes().numberOf.get(run.classes[label])));
    const faint = numbers.map((number) => chosen.size > 0 && !chosen.has(number));
    return {
      colours: numbers.map((number, index) => (by === "domain" ? roles[videos[index].role] : number === null ? unknown : colours[number])),
      faint,
      ringed: videos.map((video, index) => {
        const guess = space.predicted?.[index] ?? null;
        return ring && guess !== null && video.label !== null && guess !== video.label;
      }),
      names: state.get("names", "1") === "1" ? labels(numbers, faint) : [],
      pins: pinsOf(run),
    };
  }
  function labels(numbers, faint) {
    const members = new Map();
    numbers.forEach((number, index) => {
      if (number === null || faint[index]) return;
      if (!members.has(number)) members.set(number, []);
      members.get(number).push(index);
    });
    if (members.size > MOST_NAMES) return [];
    return [...members].sort(([a], [b]) => a - b).map(([number, indices]) => ({ text: classes().names[number], members: indices }));
  }

  // ── the maps on the page, drawn together
  let views = [];
  const pinsOf = (run) => Pins.list().flatMap((key, place) => {
    const index = Pins.indexOf(run, key);
    return index === null ? [] : [{ index, number: place + 1 }];
  });
  const drawAll = () => { for (const { map } of views) map.draw(); };
  function light(run, space, index, x, y) {
    const key = index === null ? null : Pins.keyOf(run.map.videos[index]);
    for (const view of views) view.map.light(key === null ? null : Pins.indexOf(view.run, key));
    if (index === null) { Comix.hint.hide(); return; }
    Comix.hint.show(x, y, ...Pins.hint(run, space, index));
    if (document.activeElement?.classList.contains("scatter")) say(Pins.sentence(run, space, index));
  }

  function shareOf(run, space) {
    const near = Parts.own(run.map.neighbours?.spaces, space.name);
    return near && near.cross_share !== null
      ? ` ${percent(near.cross_share)} % of the ${run.map.neighbours.k} nearest neighbours of target videos are from the source.` : "";
  }
  function one(run, which, space) {
    const title = Parts.headName(run, space.name);
    const sources = run.map.videos.filter((video) => video.role === "source").length;
    const label = `Map ${which}: ${title}. ${Parts.plural(sources, "source video")} as circles, `
      + `${Parts.plural(run.map.videos.length - sources, "target video")} as triangles.${shareOf(run, space)}`;
    const map = Scatter.make({ label, videos: run.map.videos, space, look: () => looks(run, space), on: {
      light: (index, x, y) => light(run, space, index, x, y),
      pin: (index) => Pins.toggle(Pins.keyOf(run.map.videos[index])),
    } });
    views.push({ run, space, map });
    return el("figure", { class: "map-of" },
      el("figcaption", {}, el("strong", {}, which ? `${which[0].toUpperCase()}${which.slice(1)}: ${title}` : title),
        el("span", { class: "soft" }, ` ${space.label}`)),
      map.element);
  }

  function block(run) {
    if (!run.map) return el("p", { class: "note" }, run.map_missing ?? "There is no map of this run.");
    const of = (name) => run.map.spaces.find((space) => space.name === name);
    const left = of(state.get("from")) ?? of(run.map.before) ?? run.map.spaces[0];
    const right = of(state.get("to")) ?? of(run.map.after) ?? left;
    return el("div", {},
      el("div", { class: Parts.several ? "" : "pair" },
        left === right ? null : one(run, "before", left), one(run, left === right ? "" : "after", right)),
      neighbours(run),
      el("p", { class: "soft small" }, `${run.map.method}; heads of seed ${run.map.seed}. Who is near whom says more `
        + "than how far apart clumps lie."),
      notes().length > 1 && run.map.picture_note ? el("p", { class: "soft small" }, Parts.sentence(run.map.picture_note)) : null);
  }

  /** What is said of pictures: once where it is the same of all maps, else beneath each. */
  const notes = () => [...new Set(Pins.mapped.map((run) => run.map.picture_note))];

  /** Who is near, counted in the embedding itself, not on the flat map. */
  function neighbours(run) {
    const near = run.map.neighbours;
    if (!near) return null;
    const rows = run.map.spaces.filter((space) => Parts.own(near.spaces, space.name)).map((space) => {
      const found = near.spaces[space.name];
      return [Parts.headName(run, space.name), percent(found.cross_share), percent(found.cross_expected), percent(found.cross_right)];
    });
    if (!rows.length) return null;
    return Parts.wide("Neighbours across domains", Parts.table(
      `Of the ${near.k} nearest neighbours of each target video, the share in % that are source videos, `
        + "and what complete mixing would give",
      ["space", "from the source", "complete mixing", "of these, same class"], rows, { class: "neighbours" }));
  }

  function legend() {
    const { names } = classes();
    const list = el("ul", { class: "classes-legend" });
    const buttons = names.map((name, number) => {
      const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
      const button = el("button", { type: "button", class: "quiet", "aria-pressed": "false", click: () => {
        const chosen = only();
        if (!chosen.delete(number)) chosen.add(number);
        state.set({ only: [...chosen].sort((a, b) => a - b).join(".") });
      } }, swatch, " ", Parts.name(name));
      return { button, swatch };
    });
    fill(list, ...buttons.map(({ button }) => el("li", {}, button)));
    const shapes = el("p", { class: "small shapes" });
    const every = el("button", { type: "button", class: "quiet", click: () => state.set({ only: "" }) }, "Show all classes");
    const draw = () => {
      const chosen = only(), domains = colouring() === "domain";
      buttons.forEach(({ button, swatch }, number) => {
        swatch.style.background = domains ? "transparent" : named(number);
        button.setAttribute("aria-pressed", String(chosen.has(number)));
      });
      every.hidden = chosen.size === 0;
      shapes.classList.toggle("plain", !domains);
    };
    // Of several runs each may go another way.
    const called = (role) => new Set(Pins.mapped.map((run) => Parts.named(run, role)));
    fill(shapes, ...["source", "target"].map((role) => Parts.domain(role, called(role).size === 1 ? [...called(role)][0] : role)),
      el("span", { class: "domain" }, el("span", { class: "ring", "aria-hidden": "true" }), " predicted wrong, when ringed"));
    draw();
    state.onChange(draw);
    const many = names.length > 24 ? el("p", { class: "soft small" },
      `${names.length} classes share 24 colours: press some to see them alone, with their names.`) : null;
    return el("div", { class: "legend-box" }, shapes, many, Parts.wide("Classes: press to show only these", list,
      { class: `legend-scroll${names.length > 24 ? " long" : ""}` }), every);
  }

  function controls() {
    const choices = (own) => Pins.mapped.map((run) =>
      ({ run, heads: run.map.spaces.map((space) => space.name), own: run.map[own] }));
    return el("div", { class: "controls" },
      Parts.choose("Colour by", "colour", [["class", "class"], ["prediction", "predicted class"], ["domain", "domain"]], usual()),
      Parts.chooseHead("Left map", "from", choices("before")),
      Parts.chooseHead("Right map", "to", choices("after")),
      Parts.tick("Ring wrong predictions", "wrong"),
      Parts.tick("Names of classes", "names", true));
  }

  function show(body) {
    if (!Pins.mapped.length) { fill(body, Parts.side(block)); return; }
    const place = el("div", {});
    let spaces = null;
    const draw = () => {
      const asked = [state.get("from"), state.get("to")].join("\n");
      if (asked !== spaces) {
        spaces = asked;
        views = [];
        fill(place, Parts.side(block));
      }
      drawAll();
    };
    draw();
    state.onChange(draw);
    const words = notes().length > 1 ? "" : notes()[0] || (pictures.kind === "none" ? pictures.note : "");
    const note = words ? el("p", { class: pictures.kind === "none" ? "note" : "soft small" }, Parts.sentence(words)) : null;
    fill(body, el("p", { class: "soft" },
      "Each point is a video. Point at one to see it; click to keep it. It is lit on every map at once."),
      note, controls(), legend(), place, Pins.show());
  }

  return { show, views: () => views };
})();
