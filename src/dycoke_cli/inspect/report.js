// The answers of an evaluation that a method changed.

const OUTCOMES = {
  fixed: "wrong→right",
  broken: "right→wrong",
  "still right": "correct in both",
  "still wrong": "wrong in both",
  graded: "graded, not judged",
};

function showReport({ benchmark, split, rows, changes }) {
  document.title = "dycoke eval report";
  document.getElementById("title").textContent = `Answers that compression changed: ${benchmark}`;
  document.getElementById("about").textContent =
    `${split} split · ${number.format(changes.length)} changed answers`;
  main.append(template("of-report"));
  const changed = rows.filter((row) => row.changed !== null);
  const name = ({ model, spec }) => (new Set(rows.map((row) => row.model)).size > 1
    ? `${model}: ${spec}` : spec);
  table(
    document.getElementById("numbers"),
    ["", "questions", "accuracy, %", "changed", "wrong→right", "right→wrong"],
    rows.map((row) => [
      name(row), row.questions, row.accuracy === null ? null : 100 * row.accuracy,
      row.changed, row.fixed, row.broken,
    ]),
  );
  const choose = (id, entries) => {
    const select = document.getElementById(id);
    select.append(new Option("all", ""), ...entries.map(([text, value]) => new Option(text, value)));
    select.addEventListener("change", show);
    return select;
  };
  const row = choose("row", changed.map((one, index) => [name(one), String(index)]));
  const outcome = choose("outcome", Object.entries(OUTCOMES)
    .filter(([key]) => changes.some((change) => change.outcome === key))
    .map(([key, text]) => [text, key]));
  const host = document.getElementById("changes");
  let cards = [];

  function show() {
    const of = changed[row.value];
    const found = changes.filter((change) =>
      (!of || (change.model === of.model && change.spec === of.spec)) &&
      (!outcome.value || change.outcome === outcome.value));
    document.getElementById("count").textContent = `${number.format(found.length)} answers`;
    host.replaceChildren(...found.map(card));
    cards = [...host.children];
  }

  function card(change) {
    const part = template("of-change");
    const article = part.querySelector("article");
    article.dataset.outcome = change.outcome;
    const texts = {
      ".outcome": OUTCOMES[change.outcome] ?? change.outcome,
      h2: change.question,
      ".about": [name(change), `video ${change.video}`, change.kind, change.item].map(plain).join(" · "),
      ".reference": change.answer,
      ".baseline": change.uncompressed,
      ".compressed": change.said,
    };
    for (const [where, text] of Object.entries(texts)) {
      part.querySelector(where).textContent = text || "(empty)";
    }
    return part.firstElementChild;
  }

  const move = (by) => {
    const at = cards.indexOf(document.activeElement) + by;
    cards[Math.max(0, Math.min(cards.length - 1, at))]?.focus();
  };
  onKeys({
    ArrowLeft: () => move(-1),
    ArrowUp: () => move(-1),
    ArrowRight: () => move(1),
    ArrowDown: () => move(1),
    Home: () => cards[0]?.focus(),
    End: () => cards[cards.length - 1]?.focus(),
  });
  show();
}
