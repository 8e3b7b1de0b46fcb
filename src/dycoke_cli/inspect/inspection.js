// One question under one or two methods: frames, tokens, words, the time line and the numbers.

// Shows an inspection in an element, and says in `about` what it is of.
function showInspection({ grid, methods, model }, uris, host, about, video) {
  const perFrame = grid.rows * grid.columns;
  const whole = grid.frames * perFrame;
  const frameOf = (token) => Math.floor(token / perFrame);
  const longest = largest(methods.map((method) => method.trace.steps.length), 0);
  const seconds = (frame) => `${grid.timestamps_s[frame].toFixed(2)} s`;
  let step = -1; // the overview
  let view = "attention";
  let chosen = null; // a frame

  about.textContent =
    `${plain(video)} · ${plain(model.name)} (${model.dtype}, ${model.device}) · ${grid.frames} frames of ` +
    `${grid.rows} × ${grid.columns} tokens`;
  host.append(template("of-inspection"));

  const pictures = uris.map((uri) => {
    const picture = new Image();
    picture.src = uri;
    return picture;
  });

  const byFrame = (tokens, values) => {
    const sums = new Array(grid.frames).fill(0);
    tokens.forEach((token, place) => { sums[frameOf(token)] += values ? values[place] : 1; });
    return sums;
  };

  // What each step needs, once for all drawings of it.
  const panels = methods.map((method, place) => {
    const { title, trace } = method;
    const at = new Map(trace.kept.map((token, index) => [token, index]));
    const steps = trace.steps.map((one) => ({
      ...one,
      isActive: new Set(one.active),
      isEvicted: new Set(one.evicted),
      isRecalled: new Set(one.recalled),
      most: largest(one.attention, 1e-9),
      frames: byFrame(trace.kept, one.attention),
    }));
    const moves = steps.some((one) => one.evicted.length || one.recalled.length);
    return { title, method, trace, at, steps, place, moves, kept: byFrame(trace.kept), pointed: null };
  });

  const shown = document.getElementById("methods");
  shown.classList.toggle("several", panels.length > 1);
  for (const panel of panels) shown.append(makePanel(panel));
  table(document.getElementById("numbers"), ["", ...panels.map((panel) => panel.title)], [
    ["Visual tokens", (of) => of.tokens.visual],
    ["Visual tokens at prefill", (of) => of.tokens.visual_kept],
    ["Visual tokens attended per step", (of) => of.tokens.visual_read_per_step],
    ["… in the pruned layers", (of) => of.tokens.visual_active_in_decode],
    ["Text tokens of the prompt", (of) => of.tokens.text],
    ["Generated tokens", (of) => of.tokens.generated],
    ["Reselections", (of) => of.decode.choices_renewed],
    ["Tokens evicted in decode", (of) => of.decode.tokens_evicted],
    ["Tokens recalled", (of) => of.decode.tokens_recalled],
    ["LLM MFLOPs (paper's formula)", (of) => (of.flops.prefill + of.flops.decode) / 1e6],
    ["KV cache attended by the last step, kB", (of) => of.kv_active_bytes / 1e3],
  ].map(([name, value]) => [name, ...panels.map((panel) => value(panel.method))]));

  function makePanel(panel) {
    const part = template("of-method");
    const { trace, method } = panel;
    part.querySelector("h2").textContent = panel.title;
    part.querySelector(".kept").textContent =
      `${number.format(trace.kept.length)} of ${number.format(whole)} visual tokens kept ` +
      `(${percent(trace.kept.length / whole)}), ` +
      `${number.format(method.tokens.visual_active_in_decode)} of them active per step`;
    const warnings = part.querySelector(".warnings");
    for (const warning of method.warnings) warnings.append(made("li", plain(warning)));
    const words = part.querySelector(".answer");
    panel.words = panel.steps.map((one, index) => {
      // A line breaks at the space before a word, not behind it.
      const space = one.text.trim() ? one.text.match(/^ */)[0] : "";
      const word = made("button", one.text.slice(space.length) || "end", one.text ? "" : "end");
      word.addEventListener("click", () => go(index));
      word.addEventListener("pointerenter", (event) => {
        if (event.pointerType === "mouse") go(index);
      });
      words.append(space, word);
      return word;
    });
    panel.said = part.querySelector(".step");
    panel.token = part.querySelector(".token");
    const frames = part.querySelector(".frames");
    panel.figures = pictures.map((picture, frame) => {
      const figure = made("figure");
      const canvas = made("canvas");
      const caption = made("figcaption");
      canvas.setAttribute("role", "img");
      figure.append(canvas, caption);
      frames.append(figure);
      const point = (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor(((event.clientX - box.left) / box.width) * grid.columns);
        const row = Math.floor(((event.clientY - box.top) / box.height) * grid.rows);
        if (column < 0 || row < 0 || column >= grid.columns || row >= grid.rows) return;
        tell(panel, frame * perFrame + row * grid.columns + column);
      };
      canvas.addEventListener("pointermove", point);
      canvas.addEventListener("pointerdown", point);
      canvas.addEventListener("pointerleave", () => tell(panel, null));
      return { figure, canvas, caption, picture, frame };
    });
    panel.course = part.querySelector(".course canvas");
    part.querySelector(".moved").hidden = !panel.moves;
    panel.course.addEventListener("click", (event) => {
      const box = panel.course.getBoundingClientRect();
      const { left, width } = courseBox(panel, box.width, box.height);
      const index = Math.floor(((event.clientX - box.left - left) / width) * panel.steps.length);
      if (index >= 0 && index < panel.steps.length) go(index);
    });
    return part;
  }

  const place = (token) => {
    const inside = token % perFrame;
    const row = Math.floor(inside / grid.columns) + 1;
    return `frame ${frameOf(token) + 1}, row ${row}, column ${(inside % grid.columns) + 1}`;
  };

  function tell(panel, token) {
    panel.pointed = token;
    if (token === null) {
      panel.token.textContent = "";
    } else {
      const index = panel.at.get(token);
      const into = panel.trace.merged_into?.[token];
      const now = panel.steps[indexOf(panel)];
      const parts = [place(token)];
      if (index === undefined) {
        parts.push(into >= 0 ? `dropped, represented by ${place(into)}` : "dropped");
      } else {
        const merged = (panel.trace.merged_into ?? []).filter((target) => target === token).length;
        parts.push(merged > 1 ? `kept, for ${merged - 1} more` : "kept");
        if (now) {
          parts.push(`attention ${(100 * now.attention[index]).toPrecision(2)} %`);
          parts.push(now.isRecalled.has(token) ? "recalled at this token"
            : now.isEvicted.has(token) ? "evicted at this token"
            : now.isActive.has(token) ? "active" : "evicted");
        }
      }
      panel.token.textContent = parts.join(" · ");
    }
    drawFrames(panel);
  }

  // Of a shorter answer than the other, the last token stays.
  const indexOf = (panel) => Math.min(step, panel.steps.length - 1);

  function drawFrame(panel, { canvas, picture, frame }) {
    if (!picture.naturalWidth || !canvas.clientWidth) return;
    const width = canvas.clientWidth;
    const height = (width * picture.naturalHeight) / picture.naturalWidth;
    const drawing = context(canvas, width, height);
    drawing.drawImage(picture, 0, 0, width, height);
    const now = panel.steps[indexOf(panel)];
    const [page, heat, ink] = ["--page", "--heat", "--ink"].map(colour);
    const [recalled, evicted, accent] = ["--recalled", "--evicted", "--accent"].map(colour);
    const wide = width / grid.columns;
    const high = height / grid.rows;
    const target = panel.pointed === null ? null : panel.trace.merged_into?.[panel.pointed];
    for (let inside = 0; inside < perFrame; inside += 1) {
      const token = frame * perFrame + inside;
      const left = (inside % grid.columns) * wide;
      const top = Math.floor(inside / grid.columns) * high;
      const index = panel.at.get(token);
      if (index === undefined) {
        drawing.globalAlpha = 0.86;
        drawing.fillStyle = page;
        drawing.fillRect(left, top, wide, high);
      } else if (now && view === "attention") {
        drawing.globalAlpha = 0.9 * Math.sqrt(now.attention[index] / now.most);
        drawing.fillStyle = heat;
        drawing.fillRect(left, top, wide, high);
      } else if (now && !now.isActive.has(token)) {
        drawing.globalAlpha = 0.5;
        drawing.fillStyle = page;
        drawing.fillRect(left, top, wide, high);
        drawing.globalAlpha = 0.8;
        drawing.strokeStyle = ink;
        drawing.lineWidth = 1;
        drawing.beginPath();
        drawing.moveTo(left, top + high);
        drawing.lineTo(left + wide, top);
        drawing.stroke();
      }
      drawing.globalAlpha = 1;
      const edge = token === target || token === panel.pointed ? accent
        : now && view === "active" && now.isRecalled.has(token) ? recalled
        : now && view === "active" && now.isEvicted.has(token) ? evicted : null;
      if (edge) {
        drawing.strokeStyle = edge;
        const line = Math.max(1, Math.min(2, wide / 8));
        drawing.lineWidth = line;
        drawing.strokeRect(left + line / 2, top + line / 2, wide - line, high - line);
      }
    }
  }

  function drawFrames(panel) {
    const now = panel.steps[indexOf(panel)];
    const active = now ? byFrame(now.active) : null;
    for (const one of panel.figures) {
      const { frame } = one;
      const counts = [now && view === "active" ? `${active[frame]} of ${panel.kept[frame]} active`
        : `${panel.kept[frame]}/${perFrame}`];
      if (now && view === "attention") counts.push(percent(now.frames[frame]));
      one.caption.textContent = `${seconds(frame)}\n${counts.join(" · ")}`;
      one.canvas.setAttribute("aria-label", `Frame ${frame + 1}, ${seconds(frame)}: ${counts.join(", ")}`);
      one.figure.classList.toggle("chosen", frame === chosen);
      drawFrame(panel, one);
    }
  }

  const courseBox = (panel, width, height) =>
    ({ left: 34, width: width - 38, heat: panel.moves ? height * 0.68 : height - 1 });

  function drawCourse(panel) {
    const width = panel.course.clientWidth;
    const height = panel.course.clientHeight;
    const drawing = context(panel.course, width, height);
    const box = courseBox(panel, width, height);
    const one = box.width / panel.steps.length;
    const high = box.heat / grid.frames;
    const most = largest(panel.steps.flatMap((each) => each.frames), 1e-9);
    const moved = largest(
      panel.steps.slice(2).map((each) => Math.max(each.evicted.length, each.recalled.length)), 1,
    );
    const middle = box.heat + (height - box.heat) / 2;
    const reach = (height - box.heat) / 2 - 4;
    drawing.font = "11px system-ui, sans-serif";
    drawing.fillStyle = colour("--faint");
    drawing.textBaseline = "middle";
    const every = Math.ceil(grid.frames / 6);
    for (let frame = 0; frame < grid.frames; frame += every) {
      drawing.fillText(
        `${grid.timestamps_s[frame].toFixed(1)} s`, 0, Math.max(6, (frame + 0.5) * high), 30,
      );
    }
    panel.steps.forEach((each, index) => {
      const left = box.left + index * one;
      drawing.fillStyle = colour("--heat");
      each.frames.forEach((share, frame) => {
        drawing.globalAlpha = share / most;
        drawing.fillRect(left, frame * high, one + 0.5, high + 0.5);
      });
      drawing.globalAlpha = 1;
      const bar = Math.max(1, one * 0.8);
      drawing.fillStyle = colour("--recalled");
      const up = Math.min(1, each.recalled.length / moved) * reach;
      drawing.fillRect(left + (one - bar) / 2, middle - up, bar, up);
      drawing.fillStyle = colour("--evicted");
      // The first selection evicts far more than later ones exchange: its bar is cut.
      const down = Math.min(1, each.evicted.length / moved) * reach;
      drawing.fillRect(left + (one - bar) / 2, middle, bar, down);
    });
    drawing.strokeStyle = colour("--line");
    drawing.strokeRect(box.left, 0.5, box.width - 1, box.heat - 1);
    if (panel.moves) {
      drawing.fillStyle = colour("--faint");
      drawing.fillRect(box.left, middle, box.width, 0.7);
    }
    if (step >= 0) {
      drawing.strokeStyle = colour("--accent");
      drawing.lineWidth = 2;
      drawing.strokeRect(box.left + indexOf(panel) * one, 1, one, height - 2);
    }
  }

  const time = document.getElementById("time");
  const last = grid.timestamps_s[grid.frames - 1] || 1;
  const timeBox = (width) => ({ left: 8, width: width - 30 });

  function drawTime() {
    const width = time.clientWidth;
    const height = time.clientHeight;
    const drawing = context(time, width, height);
    const box = timeBox(width);
    const floor = height - 22;
    const share = Math.min(26, (box.width / grid.frames) * 0.9) / panels.length;
    grid.timestamps_s.forEach((at, frame) => {
      const left = box.left + (at / last) * (box.width - 26);
      for (const panel of panels) {
        drawing.fillStyle = colour(`--method-${panel.place}`);
        const high = (panel.kept[frame] / perFrame) * (floor - 6);
        drawing.fillRect(left + panel.place * share, floor - high, Math.max(1, share - 1), high);
        const now = panel.steps[indexOf(panel)];
        if (now) {
          drawing.fillStyle = colour("--heat");
          const most = largest(now.frames, 1e-9);
          const mark = (now.frames[frame] / most) * (floor - 6);
          drawing.fillRect(left + panel.place * share, floor - mark - 1, Math.max(2, share - 1), 3);
        }
      }
      if (frame === chosen) {
        drawing.strokeStyle = colour("--accent");
        drawing.strokeRect(left - 2, 1, share * panels.length + 3, floor);
      }
    });
    drawing.fillStyle = colour("--faint");
    drawing.fillRect(box.left, floor, box.width, 1);
    drawing.font = "11px system-ui, sans-serif";
    drawing.textBaseline = "top";
    const marks = Math.max(1, Math.min(8, Math.floor(width / 110)));
    for (let mark = 0; mark <= marks; mark += 1) {
      const at = (last * mark) / marks;
      drawing.fillText(`${at.toFixed(1)} s`, box.left + (at / last) * (box.width - 26), floor + 5);
    }
  }

  const near = (event) => {
    const box = time.getBoundingClientRect();
    const inside = timeBox(box.width);
    const at = ((event.clientX - box.left - inside.left) / (inside.width - 26)) * last;
    let nearest = 0;
    grid.timestamps_s.forEach((when, frame) => {
      if (Math.abs(when - at) < Math.abs(grid.timestamps_s[nearest] - at)) nearest = frame;
    });
    if (nearest !== chosen) {
      chosen = nearest;
      draw();
    }
  };
  time.addEventListener("pointermove", near);
  time.addEventListener("pointerdown", near);
  time.addEventListener("pointerleave", () => {
    chosen = null;
    draw();
  });

  function legend() {
    const shown = document.getElementById("legend");
    const entry = (kind, text) => {
      const part = made("span");
      part.append(made("i", "", kind), text);
      return part;
    };
    const entries = panels.some((panel) => panel.trace.kept.length < whole)
      ? [entry("gone", "faded: dropped before the language model")] : [];
    if (step >= 0 && view === "attention") {
      const { layer } = panels[0].trace;
      entries.push(entry("heat", `attention of layer ${layer}, relative to the largest`));
    }
    if (step >= 0 && view === "active" && panels.some((panel) => panel.moves)) {
      entries.push(entry("inactive", "not active at this token"));
      entries.push(entry("recalled", "recalled"), entry("evicted", "evicted now"));
    }
    shown.replaceChildren(...entries);
    shown.hidden = !entries.length;
  }

  function draw() {
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(step >= 0 && button.dataset.view === view));
    }
    document.getElementById("overview").setAttribute("aria-pressed", String(step < 0));
    const bars = panels.length > 1 ? `Bars: tokens kept of each frame, ${panels[0].title} ` +
      `on the left, ${panels[1].title} on the right` : "Bars: tokens kept of each frame";
    document.getElementById("of-time").textContent =
      step < 0 ? `${bars}.` : `${bars}; marks: attention at this token, relative to the largest.`;
    legend();
    for (const panel of panels) {
      const index = indexOf(panel);
      panel.words.forEach((word, place) => {
        word.setAttribute("aria-pressed", String(place === index));
      });
      const now = panel.steps[index];
      panel.said.replaceChildren();
      if (now) {
        const parts = [
          `Token ${index + 1} of ${panel.steps.length}`,
          `attention to the video ${percent(sum(now.attention))}`,
          `${number.format(now.active.length)} active`,
          `${number.format(now.evicted.length)} evicted`,
          `${number.format(now.recalled.length)} recalled`,
        ];
        panel.said.textContent = parts.join(" · ") + (now.reselected ? " · reselected" : "");
        panel.said.dataset.active = String(now.active.length);
        panel.said.dataset.evicted = String(now.evicted.length);
        panel.said.dataset.recalled = String(now.recalled.length);
        panel.said.dataset.attention = String(sum(now.attention));
      }
      drawFrames(panel);
      drawCourse(panel);
    }
    drawTime();
  }

  function go(to) {
    step = Math.max(-1, Math.min(longest - 1, to));
    draw();
  }

  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      view = button.dataset.view;
      go(Math.max(0, step));
    });
  }
  document.getElementById("overview").addEventListener("click", () => go(-1));
  document.getElementById("previous").addEventListener("click", () => go(step - 1));
  document.getElementById("next").addEventListener("click", () => go(step + 1));
  const keys = {
    ArrowLeft: () => go(step - 1),
    ArrowRight: () => go(step + 1),
    Home: () => go(0),
    End: () => go(longest - 1),
    Escape: () => go(-1),
  };
  onKeys(keys);
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours.clear();
    draw();
  });
  Promise.all(pictures.map((picture) => picture.decode())).finally(draw);
}
