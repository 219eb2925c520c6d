// The pinned videos: kept in the link, listed under the maps; a text search finds any video and pins it.
"use strict";

const Pins = (() => {
  const { el, fill, percent, say, state } = Comix;
  const { runs, pictures } = Comix.values;
  const MOST_FOUND = 8;
  const mapped = runs.filter((run) => run.map);
  const { name, apart } = Parts;

  // The domains may use the same id, so both make the key.
  const keyOf = (video) => `${video.role}:${video.id}`;
  const places = Parts.once(() =>
    new Map(mapped.map((run) => [run, new Map(run.map.videos.map((video, index) => [keyOf(video), index]))])));
  const indexOf = (run, key) => places().get(run)?.get(key) ?? null;
  const videoOf = (key) => {
    for (const run of mapped) {
      const index = indexOf(run, key);
      if (index !== null) return { run, index, video: run.map.videos[index] };
    }
    return null;
  };

  /** Keys in the order they were pinned; those of no video here are passed over. */
  function list() {
    try {
      const keys = JSON.parse(state.get("pins", "[]"));
      return Array.isArray(keys) ? [...new Set(keys)].filter((key) => videoOf(key)) : [];
    } catch {
      return [];
    }
  }
  function toggle(key) {
    const keys = list();
    const has = keys.includes(key);
    const now = has ? keys.filter((one) => one !== key) : [...keys, key];
    state.set({ pins: now.length ? JSON.stringify(now) : "" });
    say(`${apart(videoOf(key).video.id)} ${has ? "unpinned" : `pinned as number ${now.length}`}`);
  }

  const className = (run, label) => (label === null ? "unlabelled" : run.classes[label]);
  const picture = (video) => {
    const still = video.picture === null ? null : pictures.items[video.picture];
    return still ? el("img", { class: "still", src: still.src, width: still.w, height: still.h, alt: "" }) : null;
  };

  /** What a space predicts for a video: class, confidence, right or wrong where its label is known; null without predictions. */
  function predicted(run, space, index) {
    const guess = space.predicted?.[index] ?? null;
    if (guess === null) return null;
    const { label } = run.map.videos[index];
    const sure = space.confidence?.[index] ?? null;
    return { name: run.classes[guess], sure, right: label === null ? null : guess === label };
  }
  const words = (found) => [
    el("strong", {}, name(found.name)), found.sure === null ? null : ` ${percent(found.sure)} %`, " ",
    found.right === null ? null : Parts.verdict(found.right)];

  const facts = (run, video) => [
    el("div", { class: "id" }, name(video.id)),
    el("div", {}, Parts.domain(video.role, Parts.named(run, video.role))),
    el("div", {}, "class: ", el("strong", {}, name(className(run, video.label))))];

  /** The words of the box beside the pointer. */
  function hint(run, space, index) {
    const video = run.map.videos[index];
    const found = predicted(run, space, index);
    return [picture(video), ...facts(run, video),
      found ? el("div", {}, "predicted: ", ...words(found)) : el("div", { class: "soft" }, "features only: nothing is predicted here")];
  }
  /** The same as one sentence, for those who hear the page. */
  function sentence(run, space, index) {
    const video = run.map.videos[index];
    const found = predicted(run, space, index);
    const said = found ? `, predicted ${apart(found.name)}${found.sure === null ? "" : ` at ${percent(found.sure)} %`}`
      + `${found.right === null ? "" : found.right ? ", right" : ", wrong"}` : "";
    return `${apart(video.id)}, ${video.role}, class ${apart(className(run, video.label))}${said}`;
  }

  function card(key, number) {
    const { run, video } = videoOf(key);
    const lines = mapped.flatMap((one) => {
      const index = indexOf(one, key);
      if (index === null) return [];
      return one.map.spaces.filter((space) => space.predicted).map((space) => {
        const found = predicted(one, space, index);
        return el("li", {}, ...(Parts.several ? [name(one.name), ", "] : []), `${Parts.headName(one, space.name)}: `,
          ...(found ? words(found) : ["no prediction"]));
      });
    });
    return el("li", { class: "pin panel" },
      el("div", { class: "pin-head" }, el("span", { class: "number" }, String(number)), picture(video),
        el("div", {}, ...facts(run, video))),
      el("ul", { class: "small" }, ...lines),
      el("button", { type: "button", class: "quiet screen", "aria-label": `Unpin ${apart(video.id)}`, click: () => toggle(key) }, "Unpin"));
  }

  /** Ids that hold the text, those that begin with it first. */
  function search(text) {
    const asked = text.trim().toLowerCase();
    if (!asked) return [];
    const found = new Map();
    for (const run of mapped) {
      for (const video of run.map.videos) {
        const place = video.id.toLowerCase().indexOf(asked);
        if (place >= 0 && !found.has(keyOf(video))) found.set(keyOf(video), { key: keyOf(video), run, video, place });
      }
    }
    return [...found.values()].sort((a, b) => a.place - b.place || a.video.id.localeCompare(b.video.id, "en"));
  }

  function searchBox() {
    const results = el("ul", { class: "found" });
    const input = el("input", { type: "search", id: "find-video", autocomplete: "off", spellcheck: "false" });
    const look = () => {
      const found = search(input.value);
      const pinned = list();
      fill(results, ...found.slice(0, MOST_FOUND).map((one) =>
        el("li", {}, el("button", { type: "button", class: "quiet", "aria-pressed": String(pinned.includes(one.key)),
          click: () => toggle(one.key) },
          Parts.domainMark(one.video.role), " ", name(one.video.id), " ",
          el("span", { class: "soft" }, name(className(one.run, one.video.label)))))));
      if (input.value.trim()) {
        const more = found.length > MOST_FOUND ? ` The first ${MOST_FOUND} of them:` : "";
        results.prepend(el("li", { class: "soft small" }, `${Parts.plural(found.length, "video")} with this in the id.${more}`));
      }
    };
    input.addEventListener("input", look);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      const pinned = list();
      const first = search(input.value).find((one) => !pinned.includes(one.key));
      if (first) toggle(first.key);
    });
    state.onChange(look);
    return el("div", { class: "screen" },
      el("div", { class: "controls" }, el("label", { for: "find-video" }, "Find a video by its id (Enter pins the next)", input)), results);
  }

  function show() {
    const cards = el("ol", { class: "pins" });
    const title = el("h3", {}, "Pinned videos");
    const none = el("p", { class: "soft" },
      "None yet. Click a point, press Enter on it, or search for an id: the video stays here, and in the link.");
    const clear = el("button", { type: "button", class: "quiet screen", click: () => state.set({ pins: "" }) }, "Unpin all");
    let shown = null;
    const draw = () => {
      const keys = list();
      if (shown === keys.join("\n")) return;
      shown = keys.join("\n");
      none.hidden = keys.length > 0;
      clear.hidden = keys.length < 2;
      fill(cards, ...keys.map((key, place) => card(key, place + 1)));
    };
    draw();
    state.onChange(draw);
    return el("div", { class: "pinned" }, title, searchBox(), none, cards, clear);
  }

  return { mapped, keyOf, indexOf, list, toggle, hint, sentence, show };
})();
