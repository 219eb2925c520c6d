// What the link asks for: read here, and nowhere else. What it may not say is taken for the default.
const Link = (() => {
  const { state, values } = Comix;
  const { classes, domains, queries } = Rows;
  const PER_PAGE = [25, 50, 100];
  const ALL_BELOW = 200;
  // No name may hold a control character.
  const NO_LABEL = "\u001f";
  const both = values.before !== null;

  const options = (id) => [...document.getElementById(id).options].map((option) => option.value);
  const oneOf = (name, allowed, otherwise) => (allowed.includes(state.get(name)) ? state.get(name) : otherwise);
  const spaceIn = (name, otherwise) => Rows.numberOf.get(state.get(name)) ?? otherwise;
  /** The number of a class or domain that is named; null for any. */
  const numberIn = (name, names) => {
    const found = names.indexOf(state.get(name));
    return state.get(name) === NO_LABEL ? Rows.NONE : found < 0 ? null : found;
  };

  /** Which rows, in which order, and in which space: see Rows.select. */
  function wished() {
    const view = both ? oneOf("view", ["before", "after", "both"], "after") : "after";
    const [before, after] = [both ? spaceIn("before", values.before) : null, spaceIn("after", values.after)];
    return {
      view, before, after, space: view === "before" ? before : after,
      show: oneOf("show", options("show"), ""), sort: oneOf("sort", options("sort"), ""), down: state.get("order") === "down",
      class: numberIn("class", classes), near: numberIn("near", classes),
      domain: numberIn("domain", domains), nearDomain: numberIn("near-domain", domains), text: state.get("text"),
    };
  }

  const sizes = [...PER_PAGE.map(String), ...(queries.length < ALL_BELOW ? ["all"] : [])];
  const size = () => oneOf("per", sizes, sizes[0]);
  const perPage = () => (size() === "all" ? queries.length : Number(size()));
  /** The page asked for among so many. */
  const page = (pages) => Math.min(pages, Math.max(1, Math.trunc(Number(state.get("page"))) || 1));

  /** Whether pictures stand still: as the system asks until the button is pressed. */
  const still = () =>
    oneOf("motion", ["on", "off"], matchMedia("(prefers-reduced-motion: reduce)").matches ? "off" : "on") === "off";
  const tab = () => (values.mixes.length ? oneOf("tab", ["rows", "mixes"], "rows") : "rows");
  /** The row whose detail is open, if any. */
  const opened = () => Rows.rowOf.get(state.get("open"));

  return { wished, size, sizes, perPage, page, still, tab, opened, options, both, NO_LABEL };
})();
