// Which queries are shown, in which order, and how many of them are right: numbers only, no elements.
const Rows = (() => {
  const { values } = Comix;
  const { videos, queries, spaces, classes, domains, k, steps } = values;
  const NONE = -1;

  const label = (video) => videos.labels[video];
  const className = (number) => (number === NONE ? "no label" : classes[number]);
  const own = queries.map(label);
  const shouted = videos.ids.map((id) => id.toLowerCase());
  const numberOf = new Map(spaces.map((space, number) => [space.name, number]));
  const rowOf = new Map(queries.map((video, row) => [videos.ids[video], row]));

  /** Similarity with three digits. */
  const similarity = (kept) => (Math.round((1000 * kept) / steps) / 1000).toFixed(3).replace("-", "−");
  /** "right", "wrong", or "" where a label is unknown. */
  const verdict = (row, video) => (own[row] === NONE || label(video) === NONE ? "" : own[row] === label(video) ? "right" : "wrong");

  /** A row's neighbours in a space, nearest first. */
  function neighbours(space, row) {
    const found = [];
    for (let place = row * k; place < (row + 1) * k; place += 1) {
      found.push({ video: spaces[space].neighbours[place], kept: spaces[space].similarities[place] });
    }
    return found;
  }

  const voteOf = (space, row) => spaces[space].votes[row];
  /** Whether the vote has the query's class; null for a query without a label, or where no neighbour has one. */
  const voteRight = (space, row) => (own[row] === NONE || voteOf(space, row) === NONE ? null : voteOf(space, row) === own[row]);

  // ── per space and row: how many neighbours are right, and by how much right ones are nearer than wrong ones
  const measured = [];
  function measure(space) {
    if (measured[space]) return measured[space];
    const { neighbours: near, similarities } = spaces[space];
    const right = new Int32Array(queries.length);
    const labelled = new Int32Array(queries.length);
    const margin = new Float64Array(queries.length).fill(NaN);
    const bound = new Int8Array(queries.length);
    for (let row = 0; row < queries.length; row += 1) {
      if (own[row] === NONE) continue;
      let [bestRight, bestWrong] = [null, null];
      for (let place = row * k; place < (row + 1) * k; place += 1) {
        const other = label(near[place]);
        if (other === NONE) continue;
        labelled[row] += 1;
        if (other === own[row]) {
          right[row] += 1;
          bestRight ??= similarities[place];
        } else bestWrong ??= similarities[place];
      }
      // What is not among the k is at most as similar as the k-th.
      const last = similarities[(row + 1) * k - 1];
      if (!labelled[row]) continue;
      bound[row] = bestWrong === null ? 1 : bestRight === null ? -1 : 0;
      margin[row] = ((bestRight ?? last) - (bestWrong ?? last)) / steps;
    }
    measured[space] = { right, labelled, margin, bound };
    return measured[space];
  }

  /** Neighbours of the query's class after, less those before; NaN without a label. */
  const change = (before, after, row) =>
    own[row] === NONE || before === null ? NaN : measure(after).right[row] - measure(before).right[row];

  /** "newly-right", "newly-wrong" or "". */
  function turned(before, after, row) {
    if (before === null || own[row] === NONE) return "";
    const [then, now] = [voteRight(before, row), voteRight(after, row)];
    return then === now || then === null || now === null ? "" : now ? "newly-right" : "newly-wrong";
  }

  function several(space, row) {
    const first = label(spaces[space].neighbours[row * k]);
    return neighbours(space, row).some(({ video }) => label(video) !== first);
  }

  // ── filters: each takes a row, and is made only where something is asked
  function filters(wish) {
    const { space, before, after } = wish;
    const near = spaces[space].neighbours;
    const anyNear = (row, holds) => {
      for (let place = row * k; place < (row + 1) * k; place += 1) if (holds(near[place])) return true;
      return false;
    };
    const shows = {
      wrong: (row) => voteRight(space, row) === false,
      right: (row) => voteRight(space, row) === true,
      mixed: (row) => several(space, row),
      "newly-right": (row) => turned(before, after, row) === "newly-right",
      "newly-wrong": (row) => turned(before, after, row) === "newly-wrong",
    };
    const text = wish.text.trim().toLowerCase();
    return [
      shows[wish.show],
      wish.class !== null && ((row) => own[row] === wish.class),
      wish.near !== null && ((row) => anyNear(row, (video) => label(video) === wish.near)),
      wish.domain !== null && ((row) => videos.domains[queries[row]] === wish.domain),
      wish.nearDomain !== null && ((row) => anyNear(row, (video) => videos.domains[video] === wish.nearDomain)),
      text && ((row) => shouted[queries[row]].includes(text) || anyNear(row, (video) => shouted[video].includes(text))),
    ].filter(Boolean);
  }

  const byText = new Intl.Collator("en", { numeric: true });
  let places = null;
  /** Each video's place in the order of ids, 9 before 10; found once. */
  function placeOfId(video) {
    if (!places) {
      places = new Int32Array(videos.ids.length);
      videos.ids.map((_, number) => number).sort((a, b) => byText.compare(videos.ids[a], videos.ids[b]))
        .forEach((number, place) => { places[number] = place; });
    }
    return places[video];
  }

  /** What rows are sorted by, the smallest first; NaN comes last either way. */
  const keys = {
    id: () => (row) => placeOfId(queries[row]),
    class: () => (row) => (own[row] === NONE ? NaN : own[row]),
    best: ({ space }) => (row) => -spaces[space].similarities[row * k],
    margin: ({ space }) => (row) => measure(space).margin[row],
    change: ({ before, after }) => (row) => change(before, after, row),
  };

  /** The rows that pass, sorted. wish: {space, before, after, show, class, near, domain, nearDomain, text, sort, down}. */
  function select(wish) {
    const passing = filters(wish);
    const chosen = [];
    for (let row = 0; row < queries.length; row += 1) if (passing.every((holds) => holds(row))) chosen.push(row);
    const key = keys[wish.sort]?.(wish) ?? ((row) => row);
    const at = new Float64Array(queries.length);
    for (const row of chosen) at[row] = key(row);
    const way = wish.down ? -1 : 1;
    return chosen.sort((a, b) => {
      if (Number.isNaN(at[a]) || Number.isNaN(at[b])) return Number.isNaN(at[a]) - Number.isNaN(at[b]) || a - b;
      return way * (at[a] - at[b]) || a - b;
    });
  }

  /** {share, counted}: of the rows that can be right or wrong, how many are right; null where there are none. */
  function accuracy(space, rows) {
    const counted = rows.filter((row) => voteRight(space, row) !== null);
    return counted.length ? { share: counted.filter((row) => voteRight(space, row)).length / counted.length, counted: counted.length } : null;
  }

  return {
    select, accuracy, neighbours, measure, turned, change, verdict, voteOf, voteRight, similarity, label, className,
    numberOf, rowOf, own, k, spaces, queries, classes, domains, videos, NONE,
  };
})();
