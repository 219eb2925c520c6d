// Pictures, cards and rows, as elements made of text.
const Cards = (() => {
  const { el, svg, values } = Comix;
  const { sources, moving } = values.pictures;
  const { videos, domains } = Rows;
  let still = true;

  const described = (video) => `${videos.ids[video]}, ${Rows.className(Rows.label(video))}, ${domains[videos.domains[video]]}`;

  /** The first picture of a loop, drawn once: a loop itself can't be stopped. */
  function frozen(source, text) {
    const canvas = el("canvas", { role: "img", "aria-label": text, width: 4, height: 3 });
    const picture = new Image();
    picture.src = source;
    picture.decode().then(() => {
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
      canvas.getContext("2d").drawImage(picture, 0, 0);
      canvas.dataset.drawn = "";
    }).catch(() => canvas.replaceWith(el("span", { class: "nothing" }, "picture not readable")));
    return canvas;
  }

  const image = (source, text) => el("img", { src: source, alt: text, decoding: "async" });

  // ── pictures are made when their box comes near the window, or is to be printed
  const waiting = new Map();
  function reveal(box, make) {
    const { source, text, loops } = waiting.get(box);
    waiting.delete(box);
    watch.unobserve(box);
    box.append(make(source, text, loops));
  }
  const onScreen = (source, text, loops) => (loops && still ? frozen : image)(source, text);
  const watch = new IntersectionObserver(
    (seen) => { for (const one of seen) if (one.isIntersecting && waiting.has(one.target)) reveal(one.target, onScreen); },
    { rootMargin: "300px" },
  );
  // Paper does not wait until a canvas is drawn, and nothing moves on it.
  window.addEventListener("beforeprint", () => { for (const frame of [...waiting.keys()]) reveal(frame, image); });

  /** A box of fixed size that gets its picture when it is seen; it says so where there is none. */
  function box(source, text, loops) {
    if (!source) return el("div", { class: "picture" }, el("span", { class: "nothing" }, "no picture"));
    const frame = el("div", { class: "picture" });
    waiting.set(frame, { source, text, loops });
    watch.observe(frame);
    return frame;
  }

  /** Null on a page without pictures. */
  const pictureOf = (video) => (sources.length ? box(sources[video], described(video), moving) : null);

  /** Forgets boxes that are no longer on the page. */
  function forget() {
    for (const frame of [...waiting.keys()]) {
      if (!frame.isConnected) {
        watch.unobserve(frame);
        waiting.delete(frame);
      }
    }
  }

  // ── right and wrong, in shape, word and colour
  const SHAPES = { right: "M3 8.5 6.5 12 13 4", wrong: "M4 4 12 12 M12 4 4 12" };
  function mark(verdict, word = verdict) {
    if (!verdict) return el("span", { class: "verdict soft" }, word || "no label");
    const shape = svg("path", { d: SHAPES[verdict], fill: "none", stroke: "currentColor", "stroke-width": "2.4" });
    return el(
      "span", { class: `verdict ${verdict}` },
      svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", focusable: "false" }, shape), word,
    );
  }

  /** An id that breaks after its slashes first. */
  const idOf = (id) => {
    const parts = id.split(/(?<=[/])/);
    return el("bdi", { class: "id", title: id }, parts.flatMap((part, place) => (place ? [el("wbr"), part] : [part])));
  };

  const words = (video) => [
    el("bdi", { class: "class" }, Rows.className(Rows.label(video))),
    idOf(videos.ids[video]),
    el("bdi", { class: "domain" }, domains[videos.domains[video]]),
  ];

  const asked = (video) => el("div", { class: "card asked" }, pictureOf(video), el("span", { class: "rank" }, "query"), ...words(video));

  function neighbour(row, { video, kept }, rank, isNew) {
    const verdict = Rows.verdict(row, video);
    return el(
      "li", { class: `card ${verdict || "unknown"}` },
      pictureOf(video),
      el(
        "span", { class: "scored" },
        el("span", { class: "rank" }, `${rank + 1}`, isNew ? el("span", { class: "new" }, " new") : null),
        el("span", { class: "similarity" }, el("span", { class: "unseen" }, "similarity "), Rows.similarity(kept)),
      ),
      mark(verdict),
      ...words(video),
    );
  }

  // ── what a query's neighbours say
  function verdictOf(space, row) {
    const elected = Rows.voteOf(space, row);
    if (elected === Rows.NONE) return [mark("", "no labelled neighbour to vote")];
    const right = Rows.voteRight(space, row);
    const name = el("bdi", {}, Rows.className(elected));
    if (right === null) return [mark("", "no label"), el("span", {}, `${Rows.k}-NN says `, name)];
    const truth = right ? null : [", is ", el("bdi", {}, Rows.className(Rows.own[row]))];
    return [mark(right ? "right" : "wrong"), el("span", {}, `${Rows.k}-NN says `, name, ...(truth ?? []))];
  }

  function numbersOf(space, row) {
    const { right, labelled, margin, bound } = Rows.measure(space);
    if (Number.isNaN(margin[row])) return null;
    const sign = ["≤ ", "", "≥ "][bound[row] + 1];
    return el(
      "span", { class: "soft small" },
      `${right[row]} of ${labelled[row]} of its class, margin ${sign}${Comix.signed(margin[row], 3)}`,
    );
  }

  const TURNED = { "newly-right": ["right", "newly right"], "newly-wrong": ["wrong", "newly wrong"] };
  function turnedBadge(before, after, row) {
    const turned = TURNED[Rows.turned(before, after, row)];
    return turned ? el("span", { class: `badge ${turned[0]}` }, turned[1]) : null;
  }

  /** A query's neighbours in one space. title: over it; earlier: another space, whose neighbours are not new. */
  function strip(space, row, { title = null, earlier = null, badge = null, last = null } = {}) {
    const known = earlier === null ? null : new Set(Rows.neighbours(earlier, row).map(({ video }) => video));
    const id = videos.ids[Rows.queries[row]];
    const cards = Rows.neighbours(space, row).map((near, rank) =>
      neighbour(row, near, rank, known !== null && !known.has(near.video)));
    return el(
      "div", { class: "strip" },
      el("div", { class: "said" }, title ? el("span", { class: "space" }, title) : null,
        ...verdictOf(space, row), badge, numbersOf(space, row), last),
      el("ol", { class: "neighbours", role: "list", "aria-label": `neighbours of ${id}${title ? `, ${title}` : ""}` }, ...cards),
    );
  }

  /** A query and its neighbours. strips: made by `strip`. */
  const row = (number, strips) => el(
    "li", { class: "row", tabindex: "-1", "data-row": number, "aria-label": `query ${described(Rows.queries[number])}` },
    asked(Rows.queries[number]), el("div", { class: "strips" }, ...strips),
  );

  /** Lists that scroll sideways can be reached by keyboard, others are no stop. */
  function reachable(within) {
    for (const list of within.querySelectorAll(".neighbours")) {
      if (list.scrollWidth > list.clientWidth + 1) list.setAttribute("tabindex", "0");
      else list.removeAttribute("tabindex");
    }
  }

  return {
    row, strip, asked, box, idOf, forget, reachable, turnedBadge,
    moves: moving || values.mixes.length > 0,
    stop(stopped) { still = stopped; },
  };
})();
