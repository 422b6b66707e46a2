// The Stop button: the front end's part of `widgets.py`.
//
// All widgets of a page share one subshell of the kernel, and it can be the one that a command occupies. So the click goes
// two ways: as a message of the widget, and by a comm with a target of its own, for which front ends start a subshell.
const TARGET = "wandb-inference-stop";

// Without `crypto.randomUUID`, which pages have over https only.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function other_way(model) {
  try {
    return await model.widget_manager._create_comm(TARGET, newId());
  } catch {
    return null;
  }
}

function render({ model, el }) {
  const comm = other_way(model);
  const button = document.createElement("button");
  button.className = "wb-stop";
  // A page can have several.
  const say = (text) => {
    button.textContent = text;
    button.ariaLabel = `${text} ${model.get("name")}`;
  };
  say("Stop");
  button.title = "What was answered is kept.";
  // A page that was reloaded gets no more updates of the line above: it is shown here.
  const line = model.get("line") && document.createElement("span");
  const show = () => {
    if (line) line.textContent = model.get("line");
    if (!model.get("alive")) button.remove();
  };
  button.onclick = async () => {
    if (button.ariaDisabled) return;
    // A button that is disabled or removed loses the focus: what it stops takes it.
    button.ariaDisabled = "true";
    say("Stopping");
    const output = el.closest(".jp-OutputArea-child");
    const stopped = output?.previousElementSibling ?? output?.nextElementSibling;
    stopped?.setAttribute("tabindex", "-1");
    stopped?.focus({ preventScroll: true });
    model.send({});
    (await comm)?.open({ button: model.get("key") });
  };
  model.on("change:line", show);
  model.on("change:alive", show);
  el.append(button);
  if (line) el.append(line);
  show();
}

export default { render };
