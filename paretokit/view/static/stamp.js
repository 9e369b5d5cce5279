// What is needed to get the same figures again, folded, with a button that copies it.
export default {
  render({ model, el }) {
    el.classList.add("paretokit-stamp");
    const fold = document.createElement("details");
    const title = document.createElement("summary");
    const text = document.createElement("pre");
    const copy = document.createElement("button");
    title.textContent = "How this was made";
    text.tabIndex = 0;
    copy.type = "button";
    copy.textContent = "Copy";
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        copy.textContent = "Selected: press Ctrl+C";
      }
    });
    fold.append(title, copy, text);
    el.append(fold);
    const draw = () => { text.textContent = model.get("text"); copy.textContent = "Copy"; };
    model.on("change:text", draw);
    draw();
    return () => model.off("change:text", draw);
  },
};
