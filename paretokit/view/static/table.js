// A table whose rows can be reached by keyboard: arrows, Home and End move, Enter or Space selects, again to unselect.
// All text is set as text, so nothing in it is read as HTML.
export default {
  render({ model, el }) {
    el.classList.add("paretokit-table");
    let focused = 0;

    const choose = (key) => {
      model.set("selected", model.get("selected") === key ? "" : key);
      model.save_changes();
    };

    const draw = () => {
      const had = el.contains(document.activeElement);
      const [columns, rows, selected] = [model.get("columns"), model.get("rows"), model.get("selected")];
      const table = document.createElement("table");
      table.setAttribute("role", "grid");
      table.setAttribute("aria-label", model.get("label"));
      const head = table.createTHead().insertRow();
      for (const name of columns) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = name;
        head.append(cell);
      }
      const body = table.createTBody();
      focused = Math.min(focused, Math.max(0, rows.length - 1));
      rows.forEach((row, index) => {
        const line = body.insertRow();
        line.tabIndex = index === focused ? 0 : -1;
        line.setAttribute("aria-selected", String(row.key === selected && row.key !== ""));
        line.classList.toggle("muted", row.muted);
        row.cells.forEach((text, place) => {
          const cell = line.insertCell();
          cell.textContent = text;
          if (place === 0 && row.colour) {
            const mark = document.createElement("span");
            mark.className = "mark";
            mark.style.color = row.colour;
            mark.textContent = row.mark + " ";
            mark.setAttribute("aria-hidden", "true");
            cell.prepend(mark);
          }
        });
        line.addEventListener("click", () => { focused = index; choose(row.key); });
        line.addEventListener("keydown", (event) => {
          const last = rows.length - 1;
          const to = { ArrowDown: Math.min(index + 1, last), ArrowUp: Math.max(index - 1, 0), Home: 0, End: last }[event.key];
          if (to !== undefined) {
            focused = to;
            body.rows.item(index).tabIndex = -1;
            body.rows.item(to).tabIndex = 0;
            body.rows.item(to).focus();
          } else if (event.key === "Enter" || event.key === " ") {
            choose(row.key);
          } else {
            return;
          }
          event.preventDefault();
          event.stopPropagation();
        });
      });
      el.replaceChildren(table);
      if (model.get("note")) {
        const note = document.createElement("p");
        note.textContent = model.get("note");
        el.append(note);
      }
      if (had && body.rows.length) body.rows.item(focused).focus();
    };

    model.on("change", draw);
    draw();
    return () => model.off("change", draw);
  },
};
