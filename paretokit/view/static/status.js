// One line that is read aloud when it changes.
export default {
  render({ model, el }) {
    el.classList.add("paretokit-status");
    el.setAttribute("role", "status");
    el.setAttribute("aria-live", "polite");
    const draw = () => { el.textContent = model.get("text"); };
    model.on("change:text", draw);
    draw();
    return () => model.off("change:text", draw);
  },
};
