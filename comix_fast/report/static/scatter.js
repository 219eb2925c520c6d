// One map: thousands of points on a canvas, and above it a second one for the few that are lit or pinned.
"use strict";

const Scatter = (() => {
  const { el, colour } = Comix;
  const PAD = 0.03, NEAR = 18, MOST_ZOOM = 16;

  /** A circle for the source, a triangle for the target, of about equal area. */
  function glyph(pen, role, x, y, r) {
    pen.beginPath();
    if (role === "source") pen.arc(x, y, r, 0, 2 * Math.PI);
    else {
      pen.moveTo(x, y - 1.35 * r);
      pen.lineTo(x + 1.25 * r, y + 0.85 * r);
      pen.lineTo(x - 1.25 * r, y + 0.85 * r);
      pen.closePath();
    }
  }

  /**
   * label: a sentence with the key numbers. videos: {role}; space: x, y in 0 … 1000, parallel to them.
   * on: {light(index or null, clientX, clientY), pin(index)}.
   * look(): how the points look in the present theme: {colours, faint, ringed: one for each video, names: [{text, members}],
   * pins: [{index, number}]}. Returns {element, draw(), light(index), where(index)}.
   */
  function make({ label, videos, space, on, look }) {
    const base = el("canvas", { role: "img", "aria-label": label });
    const over = el("canvas", { class: "over", "aria-hidden": "true" });
    const paper = el("canvas", { class: "paper", "aria-hidden": "true" });
    const frame = el("div", { class: "scatter", tabindex: "0", role: "application",
      "aria-label": `${label} Arrow keys go from video to video, Enter pins, plus and minus zoom, Escape leaves.` }, base, over, paper);
    const radius = videos.length < 300 ? 5 : videos.length < 1200 ? 4 : 3;
    const view = { u: 0.5, v: 0.5, k: 1 };
    let size = 0, looks = null, lit = null;

    const at = (index) => [
      ((PAD + (space.x[index] / 1000) * (1 - 2 * PAD) - view.u) * view.k + 0.5) * size,
      ((PAD + (1 - space.y[index] / 1000) * (1 - 2 * PAD) - view.v) * view.k + 0.5) * size,
    ];

    function ready(canvas) {
      const ratio = Math.min(2, Math.max(1, devicePixelRatio || 1));
      const wanted = Math.round(size * ratio);
      if (canvas.width !== wanted) { canvas.width = wanted; canvas.height = wanted; }
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, size, size);
      return pen;
    }

    const draw = Parts.paints(base, paper, (canvas) => {
      if (!size) return;
      const before = looks;
      looks = look();
      points(ready(canvas));
      if (canvas === base) mark();
      else {
        pins(canvas.getContext("2d"));
        looks = before;
      }
    });

    function points(pen) {
      const ground = colour("--ground"), wrong = colour("--wrong");
      pen.lineWidth = 0.75;
      for (const faint of [true, false]) {
        pen.globalAlpha = faint ? 0.13 : 0.9;
        pen.strokeStyle = ground;
        for (let index = 0; index < videos.length; index += 1) {
          if (looks.faint[index] !== faint) continue;
          const [x, y] = at(index);
          pen.fillStyle = looks.colours[index];
          glyph(pen, videos[index].role, x, y, radius);
          pen.fill();
          if (!faint) pen.stroke();
        }
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = wrong;
      pen.lineWidth = 1.75;
      for (let index = 0; index < videos.length; index += 1) {
        if (!looks.ringed[index] || looks.faint[index]) continue;
        const [x, y] = at(index);
        pen.beginPath();
        pen.arc(x, y, radius + 3.5, 0, 2 * Math.PI);
        pen.stroke();
      }
      names(pen);
    }

    /** Where a class's name goes: above those who are around its most central video, wherever the others strayed. */
    function above(places) {
      const some = places.filter((_, place) => place % Math.ceil(places.length / 80) === 0);
      const away = ([x, y]) => some.reduce((sum, one) => sum + Math.hypot(one[0] - x, one[1] - y), 0);
      const least = some.map(away);
      const [x, y] = some[least.indexOf(Math.min(...least))];
      const near = places.filter((one) => Math.hypot(one[0] - x, one[1] - y) < 0.08 * size).map((one) => one[1]);
      return [x, near.sort((one, other) => one - other)[Math.floor(near.length * 0.1)] - radius - 8];
    }
    /** Names of classes, moved down where they would lie on each other. */
    function names(pen) {
      pen.font = `650 12px ${getComputedStyle(document.body).fontFamily}`;
      pen.textAlign = "center";
      const taken = [];
      for (const { text, members } of looks.names) {
        const short = text.length > 20 ? `${text.slice(0, 19)}…` : text;
        const wide = pen.measureText(short).width;
        const [middle, top] = above(members.map(at));
        const x = Math.min(size - wide / 2 - 2, Math.max(wide / 2 + 2, middle));
        let y = Math.max(10, top);
        while (taken.some((one) => Math.abs(one.y - y) < 15 && Math.abs(one.x - x) < (one.wide + wide) / 2 + 4)) y += 4;
        taken.push({ x, y, wide });
        written(pen, short, x, y + 4);
      }
    }

    /** The lit point and the pinned ones: drawn alone, so that the pointer is followed at once. */
    function mark() {
      if (!looks || !size) return;
      const pen = ready(over);
      pins(pen);
      if (lit === null) return;
      big(pen, lit);
      const [x, y] = at(lit);
      pen.beginPath();
      pen.arc(x, y, radius + 9, 0, 2 * Math.PI);
      pen.stroke();
    }
    function big(pen, index) {
      const [x, y] = at(index);
      pen.fillStyle = looks.colours[index];
      pen.strokeStyle = colour("--ground");
      pen.lineWidth = 5;
      glyph(pen, videos[index].role, x, y, radius + 4);
      pen.stroke();
      pen.strokeStyle = colour("--text");
      pen.lineWidth = 2;
      pen.stroke();
      pen.fill();
    }
    function pins(pen) {
      for (const { index, number } of looks.pins) {
        big(pen, index);
        const [x, y] = at(index);
        pen.textAlign = "left";
        written(pen, String(number), x + radius + 7, y - 4);
      }
    }
    /** Words that stand out from the points under them. */
    function written(pen, text, x, y) {
      pen.font = `650 12px ${getComputedStyle(document.body).fontFamily}`;
      pen.lineJoin = "round";
      pen.strokeStyle = colour("--ground");
      pen.lineWidth = 4;
      pen.strokeText(text, x, y);
      pen.fillStyle = colour("--text");
      pen.fillText(text, x, y);
    }

    function nearest(x, y) {
      let best = null, least = NEAR * NEAR;
      for (let index = 0; index < videos.length; index += 1) {
        if (looks.faint[index]) continue;
        const [px, py] = at(index);
        const far = (px - x) ** 2 + (py - y) ** 2;
        if (far < least) { least = far; best = index; }
      }
      return best;
    }

    /** The next point that way: near, and rather ahead than aside. */
    function next(dx, dy) {
      const [x, y] = lit === null ? [size / 2, size / 2] : at(lit);
      let best = lit, least = Infinity;
      for (let index = 0; index < videos.length; index += 1) {
        if (index === lit || looks.faint[index]) continue;
        const [px, py] = at(index);
        const ahead = (px - x) * dx + (py - y) * dy, aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
        if (lit !== null && ahead <= 0) continue;
        const far = lit === null ? Math.hypot(px - x, py - y) : ahead + 2 * aside;
        if (far < least) { least = far; best = index; }
      }
      return best;
    }

    function zoom(times, u = view.u, v = view.v) {
      const k = Math.min(MOST_ZOOM, Math.max(1, view.k * times));
      // The point (u, v) stays where it is.
      view.u = u + ((view.u - u) * view.k) / k;
      view.v = v + ((view.v - v) * view.k) / k;
      view.k = k;
      hold();
    }
    function hold() {
      const half = 0.5 / view.k;
      view.u = Math.min(1 - half, Math.max(half, view.u));
      view.v = Math.min(1 - half, Math.max(half, view.v));
      frame.classList.toggle("zoomed", view.k > 1);
      draw();
    }

    const within = (event) => {
      const box = frame.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const show = (index) => {
      if (index === null) { on.light(null, 0, 0); return; }
      const box = frame.getBoundingClientRect();
      const [x, y] = at(index);
      on.light(index, box.left + x, box.top + y);
    };

    let drag = null;
    frame.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, moved: false }; });
    frame.addEventListener("pointermove", (event) => {
      if (drag && event.buttons && (drag.moved || Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4)) {
        if (view.k === 1) return;
        drag.moved = true;
        view.u -= (event.clientX - drag.x) / size / view.k;
        view.v -= (event.clientY - drag.y) / size / view.k;
        Object.assign(drag, { x: event.clientX, y: event.clientY });
        hold();
        return;
      }
      show(nearest(...within(event)));
    });
    frame.addEventListener("pointerleave", () => { drag = null; show(null); });
    frame.addEventListener("click", (event) => {
      const moved = drag?.moved;
      drag = null;
      const index = moved ? null : nearest(...within(event));
      if (index !== null) { show(index); on.pin(index); }
    });
    // Pinching on a touch pad comes as a wheel with Ctrl; the plain wheel stays the page's.
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      const [x, y] = within(event);
      zoom(Math.exp(-event.deltaY / 100), view.u + (x / size - 0.5) / view.k, view.v + (y / size - 0.5) / view.k);
    }, { passive: false });

    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    frame.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (ways[event.key]) show(next(...ways[event.key]));
      else if (event.key === "Enter" || event.key === " ") { if (lit !== null) on.pin(lit); }
      else if (event.key === "+" || event.key === "=") closer(2);
      else if (event.key === "-") closer(0.5);
      else if (event.key === "Escape") show(null);
      else return;
      event.preventDefault();
    });
    frame.addEventListener("blur", () => show(null));

    function closer(times) {
      if (lit === null) { zoom(times); return; }
      const [x, y] = at(lit);
      zoom(times, view.u + (x / size - 0.5) / view.k, view.v + (y / size - 0.5) / view.k);
      show(lit);
    }
    const button = (text, name, press) => el("button", { type: "button", class: "quiet", "aria-label": name, click: press }, text);
    const tools = el("div", { class: "tools screen" },
      button("+", "Zoom in", () => closer(2)), button("−", "Zoom out", () => closer(0.5)),
      button("Whole", "Show the whole map", () => zoom(0)));

    // On paper the canvas is scaled as a picture is: one of another size would be printed before it is painted.
    new ResizeObserver(() => {
      if (!matchMedia("print").matches && frame.clientWidth && frame.clientWidth !== size) { size = frame.clientWidth; draw(); }
    }).observe(frame);

    return {
      element: el("div", { class: "mapped" }, frame, tools),
      draw,
      light(index) { if (index !== lit) { lit = index; mark(); } },
      where: (index) => at(index),
    };
  }

  return { make };
})();
