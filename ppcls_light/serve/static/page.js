"use strict";

const byId = (id) => document.getElementById(id);
const STAGES = { upload: "upload", queue: "wait", decode: "decode", inference: "network", rest: "rest" };
let limit = Infinity;
let chosen = null;
let latest = 0; // of several images in a row only the last one's answer is shown

function show(id, visible) {
  byId(id).hidden = !visible;
}

function fail(message) {
  byId("error").textContent = message;
  show("error", true);
  show("latency", false);
  show("waiting", false);
  show("unknown", false);
  byId("bars").replaceChildren();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function showBars(row) {
  const items = row.scores.map((score, index) => {
    const label = row.label_names[index] ?? `class ${row.class_ids[index]}`;
    const line = element("div", "row");
    line.append(element("span", "label", label), element("span", "score", `${(100 * score).toFixed(1)} %`));
    const track = element("div", "track");
    const fill = element("div", "fill");
    track.append(fill);
    track.setAttribute("aria-hidden", "true");
    const item = element("li", "");
    item.append(line, track);
    requestAnimationFrame(() => requestAnimationFrame(() => { fill.style.width = `${100 * score}%`; }));
    return item;
  });
  byId("bars").replaceChildren(...items);
  show("unknown", row.unknown === true);
  if (row.unknown) {
    byId("unknown").textContent = `Unknown (${row.unknown_score.toFixed(2)}): not like the images of any class. The nearest:`;
  }
  byId("summary").textContent = `${row.unknown ? "Unknown. Nearest" : "Most probable"}: ${items[0].querySelector(".label").textContent}, ` +
    items[0].querySelector(".score").textContent;
}

function showLatency(milliseconds, trip) {
  const { total, ...times } = milliseconds;
  times.rest = Math.max(0, Object.values(times).reduce((rest, time) => rest - time, total));
  byId("server").textContent = `${total.toFixed(1)} ms`;
  byId("trip").textContent = `${trip.toFixed(1)} ms`;
  const parts = [], items = [];
  for (const stage of Object.keys(STAGES).filter((known) => known in times)) {
    const part = element("div", stage);
    part.style.flexGrow = times[stage];
    parts.push(part);
    const item = element("li", "");
    item.append(element("i", stage), `${STAGES[stage]} ${times[stage].toFixed(1)} ms`);
    items.push(item);
  }
  byId("stages").replaceChildren(...parts);
  byId("legend").replaceChildren(...items);
  show("latency", true);
}

function showPicture(file) {
  const picture = byId("picture");
  URL.revokeObjectURL(picture.src);
  picture.onerror = () => {
    show("picture", false);
    show("unshown", true);
  };
  picture.alt = `The chosen picture, ${file.name}`;
  picture.src = URL.createObjectURL(file);
  byId("name").textContent = file.name;
  byId("drop").classList.add("filled");
  show("empty", false);
  show("unshown", false);
  show("picture", true);
  show("caption", true);
}

async function classify(file) {
  const mine = ++latest;
  chosen = file;
  showPicture(file);
  show("error", false);
  if (file.size > limit) {
    fail(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; this server takes ${(limit / 1e6).toFixed(1)} MB at most.`);
    return;
  }
  const form = new FormData();
  form.append("file", file);
  document.querySelector("main").setAttribute("aria-busy", "true");
  const start = performance.now();
  try {
    const token = byId("token").value.trim();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch("/predict?topk=5", { method: "POST", body: form, headers });
    const answer = await response.json();
    const trip = performance.now() - start;
    if (mine !== latest) return;
    show("ask", response.status === 401);
    if (response.ok) {
      show("waiting", false);
      showBars(answer.results[0]);
      showLatency(answer.milliseconds, trip);
    } else {
      fail(response.status === 401 ? "This server answers only with its token." : answer.error);
    }
  } catch {
    if (mine === latest) fail("The server does not answer. Is it still running?");
  } finally {
    if (mine === latest) document.querySelector("main").setAttribute("aria-busy", "false");
  }
}

function classifyFirst(files) {
  if (files.length) classify(files[0]);
  else fail("That holds no file. Save the image first, then drop or choose it here.");
}

async function watchServer() {
  const pill = byId("model");
  try {
    const response = await fetch("/ready");
    const state = await response.json();
    pill.className = state.ready ? "pill ready" : "pill";
    pill.textContent = state.ready ? `${state.model} · ${state.classes ?? "?"} classes · ${state.engine}` : state.status;
    if (state.ready) limit = state.max_bytes;
    setTimeout(watchServer, state.ready ? 10000 : 500);
  } catch {
    pill.className = "pill gone";
    pill.textContent = "no connection";
    setTimeout(watchServer, 2000);
  }
}

const drop = byId("drop");
byId("file").addEventListener("change", (event) => {
  if (event.target.files.length) classify(event.target.files[0]);
  event.target.value = ""; // the same file again is a change, too
});
byId("token").addEventListener("change", () => classify(chosen));
// The whole window takes drops: a file beside the frame would otherwise replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  classifyFirst(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  classifyFirst(event.clipboardData.files);
});
watchServer();
