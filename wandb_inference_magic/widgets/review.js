// A review, row by row: the front end's part of `widgets.py`. Rows and answers come from elsewhere: they are set as
// text, never as markup. Nothing is loaded from another address.

const PATIENCE = 2000;

function make(tag, name, attributes = {}, ...children) {
  const element = document.createElement(tag);
  element.className = name && `wb-review-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A key that types another script, or a symbol where keyboards have digits, as on AZERTY, is known by its place.
function name(event) {
  const typed = event.key.toLowerCase();
  if (event.key.length > 1 || /[a-z0-9]/.test(typed)) return event.key.length > 1 ? event.key : typed;
  const [, digit, letter] = event.code.match(/^(?:Digit|Numpad)([1-9])$|^Key([ST])$/) ?? [];
  if (typed > "~") return digit ?? letter?.toLowerCase() ?? typed;
  return (!event.shiftKey && digit) || typed;
}

const rows = (number) => `${number} row${number === 1 ? "" : "s"}`;

class View {
  constructor(model, el) {
    this.model = model;
    this.cards = model.get("cards");
    // What was decided here and is not stored yet.
    this.pending = new Map();
    this.at = Math.max(this.next(-1), 0);
    this.build();
    el.append(this.root);
    this.paint();
    // The notebook's own keys, such as single letters and the arrow keys, do not apply inside, but Ctrl+S does. Notebook 7
    // looks for them at the document, before they come to an element.
    this.onKey = (event) => {
      if (!event.composedPath().includes(this.root) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape" || event.key === "Tab" || (event.key === "Enter" && event.shiftKey)) return;
      this.key(event);
      event.stopPropagation();
    };
    window.addEventListener("keydown", this.onKey, true);
    model.on("change:choices", () => this.paint());
    model.on("msg:custom", (message) => this.answered(message));
    // JupyterLab sends this when the kernel restarts or is replaced.
    model.on("comm_live_update", () => this.leave());
  }

  build() {
    this.status = make("div", "status", { role: "status" });
    this.columns = make("dl", "columns");
    this.answers = make("div", "answers", { role: "group", "aria-label": "Which is right?" });
    this.back = this.button("tool", "←", "Back", () => this.go(this.at - 1));
    this.skip = this.button("tool", "s", "Skip", () => this.choose("skip"));
    this.onward = this.button("tool", "→", "Next", () => this.go(this.at + 1));
    this.note = make("div", "note", { role: "alert" });
    this.card = make("div", "card", {}, this.columns, make("div", "question", {}, "Which is right?"), this.answers);
    this.root = make("div", "root", { tabindex: "0", role: "group", "aria-label": `Review of ${rows(this.cards.length)}` },
      this.status, this.card, make("div", "tools", {}, this.back, this.skip, this.onward,
        make("span", "keys", {}, "With this box selected: keys 1 to 9, t, s and the arrows")), this.note);
  }

  button(name, key, label, press) {
    const button = make("button", name, { type: "button", "aria-label": label },
      make("kbd", "", { "aria-hidden": "true" }, key), ` ${label}`);
    button.addEventListener("click", press);
    return button;
  }

  option(choice, key, text, note) {
    const isChosen = this.decided(this.cards[this.at].row) === choice;
    const option = make("button", "option", {
      type: "button", "aria-pressed": String(isChosen), "aria-label": `${note}: ${text || "empty"}`, "data-choice": choice,
    }, make("span", "about", {}, make("kbd", "", {}, key), ` ${note}${isChosen ? " ✓" : ""}`),
    make("span", "text", { dir: "auto" }, text || "(empty)"));
    option.addEventListener("click", () => this.choose(choice));
    return option;
  }

  paint() {
    const isOver = this.at >= this.cards.length;
    const held = document.activeElement;
    const isInside = this.root.contains(held) && held !== this.root;
    this.card.hidden = isOver;
    this.root.classList.toggle("wb-review-waiting", this.pending.size > 0);
    this.skip.disabled = this.onward.disabled = isOver;
    this.skip.setAttribute("aria-pressed", String(!isOver && this.decided(this.cards[this.at].row) === "skip"));
    this.back.disabled = this.at === 0;
    if (isOver) this.status.textContent = this.summary();
    else {
      const card = this.cards[this.at];
      const truth = this.model.get("truth");
      const decided = this.cards.filter((one) => this.decided(one.row) !== undefined).length;
      this.status.textContent = `${this.at + 1} of ${rows(this.cards.length)} (row ${card.row}), ${decided} decided`;
      this.columns.replaceChildren(...card.columns.flatMap(([name, text]) => [
        make("dt", "", { dir: "auto" }, name), make("dd", "", { dir: "auto" }, text),
      ]));
      const agree = card.agree ? ` (${card.agree} answer${card.agree === 1 ? " agrees" : "s agree"})` : "";
      this.answers.replaceChildren(
        ...(card.truth === null ? [] : [this.option("truth", "t", card.truth, `${truth}${agree}`)]),
        ...card.answers.map((text, place) => this.option(String(place + 1), place < 9 ? String(place + 1) : "", text,
          `answer ${place + 1}`)),
      );
    }
    // A button that is gone or disabled would leave the focus, and the keys, to the notebook.
    if (isInside && (!this.root.contains(document.activeElement) || document.activeElement.disabled)) this.root.focus();
  }

  summary() {
    const count = (test) => this.cards.filter((one) => test(this.decided(one.row))).length;
    const [kept, skipped] = [count((one) => one === "truth"), count((one) => one === "skip")];
    const open = count((one) => one === undefined);
    const corrected = this.cards.length - kept - skipped - open;
    const said = [`${kept} kept`, `${corrected} corrected`, `${skipped} skipped`, ...(open ? [`${open} open`] : [])];
    return `End of ${rows(this.cards.length)}: ${said.join(", ")}. The Evaluation's reviewed() scores with this truth.`;
  }

  decided(row) {
    return this.pending.get(row) ?? this.model.get("choices")[row];
  }

  // The place of the next row without a decision, or the end.
  next(after) {
    const found = this.cards.findIndex((one, place) => place > after && this.decided(one.row) === undefined);
    return found < 0 ? this.cards.length : found;
  }

  go(to) {
    this.at = Math.max(Math.min(to, this.cards.length), 0);
    this.paint();
  }

  choose(choice) {
    if (this.at >= this.cards.length) return;
    const { row } = this.cards[this.at];
    this.pending.set(row, choice);
    try {
      this.model.send({ decide: [row, /^\d+$/.test(choice) ? Number(choice) : choice] });
    } catch {
      this.leave();
      return;
    }
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.note.textContent = "The kernel has not answered: it is busy, or has ended. Until it answers, this is not stored.";
    }, PATIENCE);
    this.go(this.at + 1);
  }

  answered({ answer, error }) {
    this.pending.delete(answer);
    if (!this.pending.size) clearTimeout(this.waiting);
    this.note.textContent = error;
    this.paint();
  }

  leave() {
    clearTimeout(this.waiting);
    this.note.textContent = "This review has no kernel: nothing more is stored. Run its cell again.";
    this.root.classList.add("wb-review-left");
    for (const button of this.root.querySelectorAll("button")) button.disabled = true;
    this.isLeft = true;
  }

  key(event) {
    // Such a key is the input method's: Enter accepts what was composed.
    if (event.isComposing || event.keyCode === 229) return;
    const key = name(event);
    const target = event.composedPath()[0];
    if (this.isLeft) return;
    // Enter and Space press a button.
    if (target !== this.root && (key === "Enter" || key === " ")) return;
    const card = this.cards[this.at];
    if (key === "ArrowLeft") this.go(this.at - 1);
    else if (key === "ArrowRight" || key === "Enter") this.go(this.at + 1);
    else if (key === "s") this.choose("skip");
    else if (key === "t" && card && card.truth !== null) this.choose("truth");
    else if (/^[1-9]$/.test(key) && card && Number(key) <= card.answers.length) this.choose(key);
    else return;
    event.preventDefault();
  }
}

export default {
  // Called when the front end has loaded this code: only then does the kernel show the cards instead of the table.
  initialize({ model }) {
    model.send({ ready: true });
  },
  render({ model, el }) {
    const view = new View(model, el);
    return () => {
      clearTimeout(view.waiting);
      window.removeEventListener("keydown", view.onKey, true);
    };
  },
};
