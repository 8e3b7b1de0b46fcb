// The form of a server's page: a video and a question become an inspection, word by word.

// The objects of a reply that is a stream of events.
async function* eventsOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (event.startsWith("data: {")) yield JSON.parse(event.slice("data: ".length));
    }
  }
}

// The content of a file, as base64.
const contentOf = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
  reader.addEventListener("error", () => reject(new Error(`${plain(file.name)} can't be read`)));
  reader.readAsDataURL(file);
});

// Still pictures are the frames of a video; a GIF is a video.
const isPicture = (file) => file.type.startsWith("image/") && file.type !== "image/gif";

// Pictures as JPEGs of the first one's size, in base64, with commas between them.
async function framesOf(files) {
  const canvas = made("canvas");
  const frames = [];
  for (const file of files) {
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error(`${plain(file.name)} can't be read as a picture`);
    });
    if (!frames.length) Object.assign(canvas, { width: picture.width, height: picture.height });
    const { width, height } = canvas;
    const scale = Math.min(width / picture.width, height / picture.height);
    const [wide, high] = [picture.width * scale, picture.height * scale];
    const brush = canvas.getContext("2d");
    brush.fillRect(0, 0, width, height);
    brush.drawImage(picture, (width - wide) / 2, (height - high) / 2, wide, high);
    frames.push(canvas.toDataURL("image/jpeg", 0.95).split(",")[1]);
  }
  return frames.join(",");
}

function showServer({ model, domain, methods, method, frames, most_frames, most_bytes, needs_key }) {
  document.title = "dycoke serve";
  document.getElementById("title").textContent = "Ask about a video";
  document.getElementById("about").textContent =
    `${model ? `The model ${model}` : "The model of this server"} answers, with one or two methods. ` +
    "The page also shows what each method kept of the video." +
    (domain ? ` This model only knows ${domain}: it can't answer about other videos.` : "");
  main.append(template("of-server"));
  const at = (id) => document.getElementById(id);
  const form = at("ask");
  const result = at("result");
  let files = [];
  let under = null; // what is under way
  let shown = null; // what is shown

  // A method by what is typed, which may have parameters.
  const known = (spec) => methods.find(({ name }) => name === spec.trim().split(":")[0].replace("_", "-"));
  const title = (spec) => (known(spec) ? `${known(spec).title} (${spec.trim()})` : spec.trim());
  for (const [field, meaning] of [["method", "of-method-chosen"], ["against", "of-against"]]) {
    at(field).addEventListener("input", () => mean(field, meaning));
  }
  function mean(field, meaning) {
    const one = known(at(field).value);
    at(meaning).textContent = one ? `${one.title}: ${one.summary}` : "";
  }

  at("methods-known").append(...methods.map(({ name, summary }) => new Option(summary, name)));
  at("method").value = method;
  at("against").value = "none";
  mean("method", "of-method-chosen");
  mean("against", "of-against");
  at("frames").value = frames;
  at("frames").max = most_frames;
  at("with-key").hidden = !needs_key;

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
  function say(text, failed = false) {
    at("status").textContent = text;
    at("status").classList.toggle("failed", failed);
  }

  const bytes = () => files.reduce((sum, file) => sum + file.size, 0);
  const name = () => plain(files[0].name) + (files.length > 1 ? ` and ${files.length - 1} more` : "");

  function take(chosen) {
    if (!chosen.length) return;
    // As a person counts: frame9 before frame10.
    files = [...chosen].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    const [size, unit] = bytes() < 1e6 ? [bytes() / 1e3, "kB"] : [bytes() / 1e6, "MB"];
    at("chosen").textContent = `${name()} (${number.format(size)} ${unit})`;
    say("");
    at("question").focus();
  }

  at("file").addEventListener("change", (event) => take(event.target.files));
  // A file that is dropped beside the form would take the page's place.
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files);
    });
  }

  // What keeps a question from being asked; null is nothing.
  function missing() {
    if (!files.length) return ["choose a video first", "file"];
    if (files.length > 1 && !files.every(isPicture)) {
      return ["choose one video, or pictures, which are the frames of one", "file"];
    }
    // Base64 has four letters for three bytes.
    if ((bytes() * 4) / 3 > most_bytes - 10_000) {
      const most = Math.floor((most_bytes * 3) / 4 / 2 ** 20);
      return [`${name()} is larger than the ${most} MiB that this server takes`, "file"];
    }
    if (!at("question").value.trim()) return ["type a question", "question"];
    if (needs_key && !at("key").value) return ["this server needs its API key", "key"];
    return null;
  }

  async function body() {
    const [first, second] = ["method", "against"].map((id) => at(id).value.trim());
    const asked = {};
    // The server's own method has parameters of its own.
    if (first && first !== method) asked.method = first;
    if (second) asked.against = second;
    const content = [
      files.every(isPicture)
        ? { type: "video_url", video_url: { url: `data:video/jpeg;base64,${await framesOf(files)}` } }
        : { type: "input_video", input_video: { data: await contentOf(files[0]) } },
      { type: "text", text: at("question").value },
    ];
    return JSON.stringify({
      messages: [{ role: "user", content }],
      media_io_kwargs: { video: { num_frames: Number(at("frames").value) || frames } },
      dycoke: asked,
    });
  }

  function busy(is) {
    at("go").disabled = is;
    at("stop").hidden = !is;
  }

  // The answers as they come.
  function streaming() {
    const names = [at("method").value || method, at("against").value].filter(Boolean);
    const cards = names.map((name) => {
      const card = made("article");
      const answer = made("p", "", "answer");
      answer.dir = "auto";
      card.append(made("h2", title(name)), answer);
      return { card, answer };
    });
    const host = made("div", "", names.length > 1 ? "several methods" : "methods");
    host.append(...cards.map(({ card }) => card));
    result.replaceChildren(host);
    return (event) => { cards[event.method].answer.textContent += event.text; };
  }

  function show({ inspection, pictures }, question, video) {
    const about = made("p", "", "about");
    const title = made("h2", question, "asked");
    title.dir = "auto";
    result.replaceChildren(title, about);
    shown = new AbortController();
    showInspection(inspection, pictures, result, about, video, shown.signal);
    result.focus({ preventScroll: true });
    result.scrollIntoView({ block: "start" });
  }

  async function ask() {
    const wanting = missing();
    if (wanting) {
      say(sentence(wanting[0]), true);
      at(wanting[1]).focus();
      return;
    }
    const [question, video] = [at("question").value, name()];
    under = new AbortController();
    busy(true);
    shown?.abort();
    say("Sending the video…");
    try {
      const headers = { "Content-Type": "application/json" };
      if (needs_key) headers.Authorization = `Bearer ${at("key").value}`;
      const given = { method: "POST", headers, body: await body(), signal: under.signal };
      const reply = await fetch("inspect", given);
      if (!reply.ok) throw new Error((await reply.json()).error.message);
      const tell = streaming();
      say("Waiting for the model…");
      for await (const event of eventsOf(reply)) {
        if (event.error) throw new Error(event.error.message);
        if (event.inspection) {
          show(event, question, video);
          say("");
        } else {
          say(`Generating answer ${event.method + 1}…`);
          tell(event);
        }
      }
    } catch (error) {
      if (error.name === "AbortError") say("Stopped.");
      else if (error instanceof TypeError) say("The server can't be reached; it may have ended.", true);
      else say(sentence(error.message), true);
    } finally {
      busy(false);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!at("go").disabled) ask();
  });
  at("stop").addEventListener("click", () => under.abort());
}
