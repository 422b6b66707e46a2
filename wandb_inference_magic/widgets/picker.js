// The list of models: the front end's part of `widgets.py`. Ids, names and facts come from elsewhere: they are set as
// text, never as markup. Nothing is loaded from another address.

const CONTEXTS = [["32k", 32_000], ["128k", 128_000], ["256k", 256_000], ["1M", 1_000_000]];
const FLAGS = ["images", "tools", "reasoning"];
const MAX_PIXELS = 320;
const PATIENCE = 2000;

// What is not known comes last. The models come in the order of their names, and sorting keeps it among equal ones.
const SORTS = {
  price: (model) => model.price ?? Infinity,
  context: (model) => -(model.tokens ?? 0),
  name: () => 0,
  newest: (model) => -Number(model.released.replaceAll("-", "")),
};

let views = 0;

function make(tag, name, attributes = {}, ...children) {
  const element = document.createElement(tag);
  element.className = name && `wb-models-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// As `Catalog.matching` does.
function matches(model, word) {
  const least = word.match(/^(\d+(?:\.\d+)?)([km]?)\+$/);
  if (least) return (model.tokens ?? 0) >= least[1] * { "": 1, k: 1000, m: 1e6 }[least[2]];
  const flag = word === "image" ? "images" : word;
  if (FLAGS.includes(flag)) {
    return model[flag] === true || (model[flag] === null ? model.search : model.names).includes(word);
  }
  return model.search.includes(word);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS the page has no clipboard, but can copy a selection.
    const area = make("textarea", "", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

class View {
  constructor(model, el) {
    this.model = model;
    this.prefix = `wb-models-${++views}-`;
    this.shown = [];
    this.active = -1;
    this.flags = new Set();
    this.least = model.get("start").least;
    this.sort = model.get("start").sort;
    this.build();
    el.append(this.root);
    this.describe();
    // The notebook's own keys, such as the arrow keys and single letters, do not apply inside, but Ctrl+S does. Notebook 7
    // looks for them at the document, before they come to an element.
    this.onKey = (event) => {
      if (!event.composedPath().includes(this.root) || event.ctrlKey || event.metaKey) return;
      if ((event.key === "Enter" && event.shiftKey) || (event.key === "Escape" && !this.isOpen)) return;
      this.key(event);
      event.stopPropagation();
    };
    window.addEventListener("keydown", this.onKey, true);
    for (const name of ["chosen", "command", "note", "left"]) model.on(`change:${name}`, () => this.describe());
    model.on("msg:custom", (message) => this.answered(message.answer));
    // JupyterLab sends this when the kernel restarts or is replaced.
    model.on("comm_live_update", () => this.leave());
    this.resizing = new ResizeObserver(() => this.isOpen && this.measure());
    this.resizing.observe(this.root);
  }

  build() {
    const id = (name) => this.prefix + name;
    const start = this.model.get("start");
    this.value = make("span", "value");
    this.button = make("button", "button", {
      type: "button", role: "combobox", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-controls": id("panel"),
      "aria-labelledby": id("label"),
    }, this.value, make("span", "arrow", { "aria-hidden": "true" }, "▾"));
    this.button.addEventListener("click", () => (this.isOpen ? this.close() : this.open()));
    this.copying = make("button", "copy", { type: "button" }, "Copy %wbmodels --use");
    this.copying.addEventListener("click", () => this.copy());
    this.facts = make("div", "facts");
    this.status = make("div", "status", { role: "status" });
    this.note = make("div", "note");
    this.search = make("input", "search", {
      type: "text", role: "combobox", "aria-label": "Search", "aria-autocomplete": "list", "aria-expanded": "true",
      "aria-controls": id("list"), placeholder: "words: llama, images, 128k+, or any model id", spellcheck: "false",
      autocomplete: "off",
    });
    this.search.value = start.text;
    this.search.addEventListener("input", () => this.filter());
    this.count = make("span", "count", { role: "status" });
    this.space = make("div", "space", { role: "presentation" });
    this.list = make("div", "list", { role: "listbox", id: id("list"), "aria-label": "Models", tabindex: "0" }, this.space);
    this.list.addEventListener("scroll", () => this.paint());
    this.none = make("div", "none");
    const heads = ["Model", "Context", "$/M in", "$/M out", "Images", "Tools", "Reasoning"];
    const head = make("div", "head", { "aria-hidden": "true" }, ...heads.map((text) => make("span", "", {}, text)));
    this.panel = make("div", "panel", { id: id("panel"), role: "group", "aria-label": "List of models" },
      make("div", "row", {}, this.search, this.count), this.tools(start), head, this.list, this.none);
    this.panel.hidden = true;
    this.root = make("div", "root", {},
      make("div", "row", {}, make("span", "label", { id: id("label") }, "Model"), this.button, this.copying),
      this.panel, this.facts, this.status, this.note, make("div", "source", {}, this.model.get("source")));
  }

  tools(start) {
    const group = (label, names, isOn, press) => {
      const buttons = names.map((name) => make("button", "toggle", { type: "button" }, name));
      const show = () => buttons.forEach((one, at) => one.setAttribute("aria-pressed", String(isOn(names[at]))));
      buttons.forEach((one, at) => one.addEventListener("click", () => {
        press(names[at]);
        show();
        this.filter();
      }));
      show();
      return make("div", "group", { role: "group", "aria-label": label },
        make("span", "label", { "aria-hidden": "true" }, label), ...buttons);
    };
    // Any size may be asked for on the line of the magic.
    const given = CONTEXTS.find(([, tokens]) => tokens === start.least)?.[0] ?? `${start.least / 1000}k`;
    const contexts = Object.fromEntries([...CONTEXTS, ...(start.least ? [[given, start.least]] : [])]);
    return make("div", "tools", {},
      group("Only with", FLAGS, (name) => this.flags.has(name),
        (name) => this.flags.delete(name) || this.flags.add(name)),
      group("Context at least", Object.keys(contexts), (name) => this.least === contexts[name],
        (name) => { this.least = this.least === contexts[name] ? 0 : contexts[name]; }),
      group("Sort by", Object.keys(SORTS), (name) => this.sort === name, (name) => { this.sort = name; }));
  }

  // What is chosen ------------------------------------------------------------------------------------------

  describe() {
    const chosen = this.model.get("chosen");
    this.value.textContent = chosen || "choose a model";
    const found = this.model.get("models").find((one) => one.id === chosen);
    const facts = (found?.facts ?? []).flatMap(([name, fact]) => [" · ", `${name} `, make("b", "", {}, fact)]).slice(1);
    this.facts.replaceChildren(...(facts.length ? facts : [chosen && "Nothing is known of this model."]));
    this.copying.hidden = !this.model.get("command");
    this.copying.title = "A restarted kernel does not know this choice. To keep it, put this line into a cell.";
    this.note.textContent = this.model.get("note");
    if (this.model.get("left")) this.leave(this.model.get("left"));
    if (this.isOpen) this.paint();
  }

  choose(id) {
    this.close();
    try {
      this.model.send({ choose: id });
    } catch {
      this.leave();
      return;
    }
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.status.textContent = `The kernel has not answered: it is busy, or has ended. Until it answers, ${id} is not chosen.`;
    }, PATIENCE);
  }

  answered(answer) {
    clearTimeout(this.waiting);
    this.status.textContent = answer;
  }

  // Without another reason, the kernel that this dropdown belonged to has ended.
  leave(why = "This dropdown has no kernel: choosing has no effect. Run the cell of %wbmodels again.") {
    this.answered(why);
    this.close();
    this.button.disabled = true;
    this.root.classList.add("wb-models-left");
  }

  async copy() {
    const command = this.model.get("command");
    this.status.textContent = (await copy(command))
      ? `Copied: ${command}. Paste it into a cell.`
      : `This page cannot copy. Type it into a cell: ${command}`;
  }

  // The open list -------------------------------------------------------------------------------------------

  get isOpen() {
    return !this.panel.hidden;
  }

  open() {
    if (this.button.disabled) return;
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.measure();
    this.filter();
    this.search.focus();
  }

  close() {
    if (!this.isOpen) return;
    const isInside = this.panel.contains(document.activeElement);
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (isInside) this.button.focus();
  }

  filter() {
    const models = this.model.get("models");
    const typed = this.search.value.trim();
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    const order = SORTS[this.sort];
    this.shown = models
      .filter((one) => (one.tokens ?? 0) >= this.least && [...this.flags].every((flag) => one[flag])
        && words.every((word) => matches(one, word)))
      .sort((a, b) => order(a) - order(b) || 0);
    this.count.textContent = `${this.shown.length} of ${models.length}`;
    this.none.textContent = this.shown.length ? "" : "No model is known to match.";
    if (!this.shown.length && /^\S+$/.test(typed) && !models.some((one) => words.every((word) => matches(one, word)))) {
      // A LoRA, for example: no list has those.
      this.shown = [{ id: typed, typed: true, facts: [] }];
      this.none.textContent = "";
    }
    this.list.hidden = !this.shown.length;
    this.list.scrollTop = 0;
    this.resize();
    this.move(this.shown.length ? 0 : -1);
  }

  // All rows have one height, so that only those in view need to exist.
  measure() {
    this.list.hidden = false;
    const model = this.model.get("models")[0] ?? { id: "x", typed: true, facts: [] };
    const row = this.row(model, 0);
    this.space.replaceChildren(row);
    this.height = row.offsetHeight || 28;
    this.list.hidden = !this.shown.length;
    this.resize();
    this.paint();
  }

  resize() {
    this.space.style.height = `${this.shown.length * this.height}px`;
    this.page = Math.max(Math.floor(MAX_PIXELS / this.height), 1);
    this.list.style.height = `${Math.min(this.shown.length, this.page) * this.height}px`;
  }

  move(to) {
    this.active = Math.max(Math.min(to, this.shown.length - 1), this.shown.length ? 0 : -1);
    const top = this.active * this.height;
    const seen = this.list.clientHeight;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    if (top + this.height > this.list.scrollTop + seen) this.list.scrollTop = top + this.height - seen;
    this.paint();
    for (const one of [this.search, this.list]) {
      if (this.active < 0) one.removeAttribute("aria-activedescendant");
      else one.setAttribute("aria-activedescendant", `${this.prefix}${this.active}`);
    }
  }

  paint() {
    const first = Math.max(0, Math.floor(this.list.scrollTop / this.height) - 4);
    const last = Math.min(this.shown.length, first + this.page + 8);
    const places = Array.from({ length: last - first }, (_, at) => first + at);
    // The active row must exist, wherever it is.
    if (this.active >= 0 && !places.includes(this.active)) places.push(this.active);
    this.space.replaceChildren(...places.map((at) => this.row(this.shown[at], at)));
  }

  row(model, at) {
    const isChosen = model.id === this.model.get("chosen");
    const facts = model.facts.map(([name, fact]) => `, ${name} ${fact}`).join("");
    const row = make("div", "option", {
      role: "option", id: `${this.prefix}${at}`, "aria-selected": String(isChosen), "aria-posinset": at + 1,
      "aria-setsize": this.shown.length, "aria-label": `${model.typed ? "Use " : ""}${model.id}${facts}`, title: model.id,
    });
    const flag = (name, title = "") => make("span", `flag wb-models-${model[name] ? "yes" : "no"}`, { title },
      { true: name, false: "–", null: "?" }[model[name]]);
    row.append(make("span", "id", {}, `${model.typed ? "Use " : ""}${model.id}`));
    if (isChosen) row.firstChild.append(make("span", "mark", {}, " ✓ in use"));
    if (!model.typed) {
      row.append(...[model.context, model.in, model.out].map((text) => make("span", "number", {}, text)),
        flag("images"), flag("tools"), flag("reasoning", model.thinks));
    }
    row.classList.toggle("wb-models-active", at === this.active);
    row.style.top = `${at * this.height}px`;
    // The focus stays in the search box.
    row.addEventListener("mousedown", (event) => event.preventDefault());
    row.addEventListener("click", () => this.choose(model.id));
    return row;
  }

  // Keys ----------------------------------------------------------------------------------------------------

  key(event) {
    // Such a key is the input method's: Enter accepts what was composed.
    if (event.isComposing || event.keyCode === 229) return;
    const [key, target] = [event.key, event.composedPath()[0]];
    if (target === this.button && !this.isOpen) {
      // A letter opens the list and is searched for. Enter and Space press the button.
      if (key !== "ArrowDown" && key !== "ArrowUp" && (key.length > 1 || key === " " || event.altKey)) return;
      this.open();
      if (key.length > 1) event.preventDefault();
      else this.search.value = "";
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: this.page, PageUp: -this.page }[key];
    const isInList = target === this.search || target === this.list;
    if (key === "Escape" && this.isOpen) this.close();
    else if (step && this.panel.contains(target)) this.move(this.active + step);
    else if (key === "Enter" && isInList && this.active >= 0) this.choose(this.shown[this.active].id);
    else return;
    event.preventDefault();
  }
}

export default {
  // Called when the front end has loaded this code: only then does the kernel show the list instead of its fall-back.
  initialize({ model }) {
    model.send({ ready: true });
  },
  render({ model, el }) {
    const view = new View(model, el);
    return () => {
      clearTimeout(view.waiting);
      window.removeEventListener("keydown", view.onKey, true);
      view.resizing.disconnect();
    };
  },
};
