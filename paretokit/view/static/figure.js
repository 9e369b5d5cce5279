// A plotly figure whose library comes from another widget, once for all figures of a page, when the first is shown.
// plotly's own widget carries its library of 5 MB in each figure, and anywidget gives up a widget for good whose module
// needs more than two seconds to load: on a busy machine three of them do. This module loads at once.
const LIBRARIES = (globalThis.paretokitLibraries ??= new Map()); // version -> promise of the module

async function libraryOf(model) {
  const holder = await model.widget_manager.get_model(model.get("_library").replace("IPY_MODEL_", ""));
  const version = holder.get("version");
  if (!LIBRARIES.has(version)) {
    const url = URL.createObjectURL(new Blob([holder.get("source")], { type: "text/javascript" }));
    LIBRARIES.set(version, import(url).finally(() => URL.revokeObjectURL(url)));
  }
  return LIBRARIES.get(version);
}

export default () => {
  let made;
  const make = async (model) => {
    const widget = (await libraryOf(model)).default();
    widget.initialize({ model });
    return widget;
  };
  return {
    async render({ model, el }) {
      made ??= make(model);
      return (await made).render({ el });
    },
  };
};
