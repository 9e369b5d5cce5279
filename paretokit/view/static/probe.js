// Tells Python what only the browser knows: that a view was attached, how wide its place and the whole Studio are,
// whether the page is dark, when a slider is let go, and when what was sent to the page is drawn.
// It shows nothing. One message per change; the first one when the view is attached.
function isDark() {
  const light = document.body.dataset.jpThemeLight;
  if (light !== undefined) return light === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// What ipywidgets leaves without a name: the handles of sliders, and number fields whose label is beside another control.
function nameControls(studio) {
  const nameOf = (control) =>
    [...(control.closest(".widget-hbox") ?? studio).querySelectorAll("label")].map((label) => label.textContent).find(Boolean);
  for (const handle of studio.querySelectorAll(".noUi-handle")) handle.setAttribute("aria-label", nameOf(handle) ?? "weight");
  for (const field of studio.querySelectorAll("input")) {
    const named = [...(field.labels ?? [])].some((label) => label.textContent.trim());
    if (!named) field.setAttribute("aria-label", `${nameOf(field) ?? "weight"}, as a number`);
  }
}

export default {
  render({ model, el }) {
    el.classList.add("paretokit-probe");
    let last = "";
    const report = (attached) => {
      const studio = el.closest(".paretokit-studio") ?? el;
      const facts = { width: Math.round(el.clientWidth), whole: Math.round(studio.clientWidth) - 16, dark: isDark() };
      const now = JSON.stringify(facts);
      if (!attached && (now === last || facts.width === 0)) return;
      last = now;
      tell({ attached, ...facts });
    };
    const tell = (message) => {
      try {
        model.send(message);
      } catch {
        // the kernel is gone, and with it whoever would have listened
      }
    };
    let waiting = 0;
    const later = () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => report(false), 100); // a window that is dragged reports when it rests
    };
    const size = new ResizeObserver(later);
    const theme = new MutationObserver(later);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    size.observe(el);
    theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    scheme.addEventListener("change", later);
    const drawn = () => tell({ drawn: model.get("frame") });
    model.on("change:frame", () => (document.hidden ? drawn() : requestAnimationFrame(drawn)));
    const gone = new AbortController(); // ends what listens
    const listen = (target, name, act) => target.addEventListener(name, act, { capture: true, signal: gone.signal });
    let dragged = false;
    const isSlider = (target) => {
      const slider = target.closest?.(".noUi-target");
      return slider != null && el.closest(".paretokit-studio")?.contains(slider);
    };
    listen(document, "pointerdown", (event) => (dragged = isSlider(event.target)));
    for (const name of ["pointerup", "pointercancel"])
      listen(document, name, () => {
        if (dragged) tell({ released: true });
        dragged = false;
      });
    listen(document, "keyup", (event) => isSlider(event.target) && tell({ released: true }));
    // attached means that the figures beside it are there as well: what is sent to them before is lost
    const since = performance.now();
    let frame = 0;
    const settle = () => {
      const plots = [...(el.closest(".paretokit-studio") ?? document).querySelectorAll(".js-plotly-plot")];
      const ready = plots.length >= model.get("figures") && plots.every((plot) => plot._fullLayout);
      if (ready || performance.now() - since > 20000) {
        nameControls(el.closest(".paretokit-studio") ?? document);
        report(true);
      } else frame = requestAnimationFrame(settle);
    };
    frame = requestAnimationFrame(settle);
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(waiting);
      size.disconnect();
      theme.disconnect();
      scheme.removeEventListener("change", later);
      gone.abort();
    };
  },
};
