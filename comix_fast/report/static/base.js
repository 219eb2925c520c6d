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

  const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : (100 * share).toFixed(digits));
  const signed = (number, digits = 1) => (number > 0 ? "+" : number < 0 ? "−" : "±") + Math.abs(number).toFixed(digits);
  const count = (number) => number.toLocaleString("en-GB");

  /** Says something to those who can't see the page change. */
  const say = (text) => { document.getElementById("said").textContent = text; };

  // ── state in the link: #name=value&name=value, so that a copied link shows the same view
  const listeners = [];
  const state = {
    get: (name, otherwise = "") => new URLSearchParams(location.hash.slice(1)).get(name) ?? otherwise,
    /** changes: {name: value}; a value of "" or null takes the name out of the link. */
    set(changes) {
      const params = new URLSearchParams(location.hash.slice(1));
      for (const [name, value] of Object.entries(changes)) {
        if (value === "" || value === null) params.delete(name);
        else params.set(name, value);
      }
      history.replaceState(null, "", `#${params}`);
      for (const listener of listeners) listener();
    },
    onChange(listener) { listeners.push(listener); },
  };
  // The link to the content must not take the place of the state.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  window.addEventListener("hashchange", () => { for (const listener of listeners) listener(); });

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

  return { values, el, svg, fill, percent, signed, count, say, state, hint, colour, onTheme: (f) => themed.push(f) };
})();
