// What every page has: the values, elements made of text, numbers as people read them, state in the link, the theme.
"use strict";

const Comix = (() => {
  const values = JSON.parse(document.getElementById("values").textContent);

  /** An element: `attributes` are set as attributes (functions as listeners), texts among `children` stay texts. */
  function make(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  const el = (name, attributes = {}, ...children) => make(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) =>
    make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  /** Replaces what an element holds. */
  const fill = (element, ...children) => {
    element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };

  /** A number ≥ 0 to some decimals, a tie to the even digit, as the command line prints it; toFixed takes ties up. */
  function fixed(number, digits) {
    // Only odd numbers over 2^(digits + 1) lie exactly between two decimals: no other fraction of that kind is a double.
    if (Math.abs(number * 2 ** (digits + 1)) % 2 !== 1) return number.toFixed(digits);
    const below = Math.floor(number * 10 ** digits);
    return ((below % 2 === 0 ? below : below + 1) / 10 ** digits).toFixed(digits);
  }
  const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : fixed(100 * share, digits));
  /** With its sign, ± for what rounds to nothing. */
  function signed(number, digits = 1) {
    const shown = fixed(Math.abs(number), digits);
    return (Number(shown) === 0 ? "±" : number > 0 ? "+" : "−") + shown;
  }
  const count = (number) => number.toLocaleString("en-GB");

  /** Says something to those who can't see the page change. */
  const say = (text) => { document.getElementById("said").textContent = text; };

  // ── state in the link: #name=value&name=value, so that a copied link shows the same view
  const listeners = [];
  let kept = location.hash.slice(1);
  const state = {
    get: (name, otherwise = "") => new URLSearchParams(kept).get(name) ?? otherwise,
    /** changes: {name: value}; a value of "" or null takes the name out of the link. */
    set(changes) {
      const params = new URLSearchParams(kept);
      for (const [name, value] of Object.entries(changes)) {
        if (value === "" || value === null) params.delete(name);
        else params.set(name, value);
      }
      kept = params.toString();
      try {
        history.replaceState(null, "", `#${kept}`);
      } catch (error) {
        // A viewer of mails or notebooks may show the page where it has no address of its own: then there is no link to keep.
        if (!(error instanceof DOMException)) throw error;
      }
      for (const listener of listeners) listener();
    },
    onChange(listener) { listeners.push(listener); },
  };
  // The link to the content must not take the place of the state.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  window.addEventListener("hashchange", () => {
    kept = location.hash.slice(1);
    for (const listener of listeners) listener();
  });

  // ── one small box beside the pointer, for all charts
  const tip = el("div", { class: "tip", hidden: true });
  document.body.append(tip);
  const hint = {
    show(x, y, ...children) {
      fill(tip, ...children);
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 4))}px`;
      tip.style.top = `${y + 14 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 14}px`;
    },
    hide() { tip.hidden = true; },
  };

  // ── light and dark: as the system has it until the button is pressed
  const button = document.getElementById("theme");
  const dark = () =>
    (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const themed = [];
  const showTheme = () => {
    button.setAttribute("aria-pressed", String(dark()));
    for (const listener of themed) listener();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();

  /** A colour of base.css, "--source" … , as it is in the present theme. */
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  return { values, el, svg, fill, fixed, percent, signed, count, say, state, hint, colour, onTheme: (f) => themed.push(f) };
})();
