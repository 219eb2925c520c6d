// Draws of background mixing: plain, background and mixed, side by side.
const Mixes = (() => {
  const { el, state, values } = Comix;
  const { domains, className } = Rows;
  const draws = values.mixes;
  const list = document.getElementById("draws");
  const tally = document.getElementById("mix-tally");

  /** Rounded once, so that the two weights shown are 1 together. */
  const hundredths = (share) => Math.round(100 * share) / 100;
  const domainName = (number) => (number === null ? "domain unknown" : domains[number]);
  const named = (id, label, domain) => [
    el("bdi", { class: "class" }, className(label)), Cards.idOf(id), el("bdi", { class: "domain" }, domainName(domain)),
  ];

  function figure(draw, kind, words, caption) {
    return el(
      "figure", { class: "mix" },
      Cards.box(draw[kind], `${words}, ${draw.video}`, kind !== "background"),
      el("figcaption", {}, el("strong", {}, words), ...caption),
    );
  }

  const one = (draw) => el(
    "li", { class: "row draw", "aria-label": `${draw.view} of ${draw.video}, gamma ${draw.gamma}` },
    figure(draw, "plain", "plain", named(draw.video, draw.label, draw.domain)),
    el("span", { class: "sign", "aria-hidden": "true" }, `· ${(1 - hundredths(draw.gamma)).toFixed(2)} +`),
    figure(draw, "background", "background", named(draw.donor, draw.donor_label, draw.donor_domain)),
    el("span", { class: "sign", "aria-hidden": "true" }, `· ${hundredths(draw.gamma).toFixed(2)} =`),
    figure(draw, "mixed", "mixed", [
      el("span", { class: "gamma" }, `γ = ${hundredths(draw.gamma).toFixed(2)}`),
      el("span", { class: "soft" }, `${draw.view}, clip from frame ${draw.start}`),
    ]),
  );

  function passes(draw) {
    const text = state.get("mixes").trim().toLowerCase();
    const domain = state.get("mixes-domain");
    const held = [draw.video, draw.donor, className(draw.label), className(draw.donor_label), draw.view];
    return (!domain || domainName(draw.domain) === domain) && held.some((one) => one.toLowerCase().includes(text));
  }

  /** Shows the draws that pass; returns what to say of them. */
  function show() {
    const passing = draws.filter(passes);
    Comix.fill(list, passing.map(one));
    tally.textContent = `${Comix.count(passing.length)} of ${Comix.count(draws.length)} draws`;
    return tally.textContent;
  }

  return { show, any: draws.length > 0, domains: [...new Set(draws.map((draw) => domainName(draw.domain)))] };
})();
