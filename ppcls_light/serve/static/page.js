"use strict";

// The page of a model, whoever runs it: server.js asks a server, local.js computes in the browser.

const byId = (id) => document.getElementById(id);
const STAGES = ["upload", "queue", "decode", "inference", "rest"];
let chosen = null;
let loaded = { answer: "Topk" }; // what is known of the model
const OF_TAGS = ["MultiLabelThreshOutput", "PersonAttribute", "VehicleAttribute", "TableAttribute"];
let latest = 0; // of several images in a row only the last one's answer is shown

function show(id, visible) {
  byId(id).hidden = !visible;
}

// Show the text `key`, and below it the server's own line, which is in English.
function fail(key, values, detail = "") {
  say(byId("problem"), key, values);
  byId("detail").textContent = detail;
  show("error", true);
  show("latency", false);
  show("waiting", false);
  show("unknown", false);
  show("note", false);
  byId("bars").replaceChildren();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Show texts, such as attributes, or numbers that are no probabilities, in place of bars.
function showTexts(texts) {
  byId("bars").replaceChildren(...texts.map((words) => element("li", "words", words)));
  say(byId("summary"), "sentence", { sentence: texts.join(", ") });
}

// Show that the model is loaded: its name, classes, engine, and by answer, topk and threshold what it answers.
function showModel(state) {
  loaded = state;
  byId("model").className = "pill ready";
  const { model, classes, engine, answer } = state;
  say(byId("model"), OF_TAGS.includes(answer) ? "modelOfTags" : "model", { model, classes: classes ?? "?", engine });
  say(byId("waiting"), answer === "Topk" ? "waiting" : "waitingOther");
}

function showRow(row) {
  const limits = [loaded.threshold ?? []].flat();
  const [least, most] = [Math.min(...limits), Math.max(...limits)].map((limit) => +(100 * limit).toPrecision(4));
  const threshold = `${least === most ? least : `${least}–${most}`} %`; // tags may have one each
  show("note", limits.length > 0);
  const empty = row.class_ids?.length === 0;
  say(byId("note"), empty ? "noTag" : "threshold", { threshold });
  if (row.attributes) showTexts([row.attributes].flat());
  else if (!row.class_ids) showTexts(row.scores.map(String));
  else if (empty) showTexts([]);
  else showBars(row);
  if (empty) say(byId("summary"), "noTag", { threshold });
}

function showBars(row) {
  const nameOf = (index) => row.label_names[index] ?? text("class", { id: row.class_ids[index] });
  const items = row.scores.map((score, index) => {
    const label = element("span", "label");
    say(label, "sentence", { sentence: () => nameOf(index) });
    const line = element("div", "row");
    line.append(label, element("span", "score", `${(100 * score).toFixed(1)} %`));
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
  byId("bars").classList.toggle("equal", OF_TAGS.includes(loaded.answer));
  show("unknown", row.unknown === true);
  if (row.unknown) say(byId("unknown"), "unknown", { score: row.unknown_score.toFixed(2) });
  say(byId("summary"), OF_TAGS.includes(loaded.answer) ? "tagsSummary" : row.unknown ? "unknownSummary" : "summary", {
    labels: () => row.scores.map((_, index) => nameOf(index)).join(", "),
    label: () => nameOf(0),
    score: items[0].querySelector(".score").textContent,
  });
}

function showLatency(milliseconds, trip) {
  const { total, ...times } = milliseconds;
  times.rest = Math.max(0, Object.values(times).reduce((rest, time) => rest - time, total));
  byId("server").textContent = `${total.toFixed(1)} ms`;
  byId("trip").textContent = `${trip.toFixed(1)} ms`;
  const parts = [], items = [];
  for (const stage of STAGES.filter((known) => known in times)) {
    const part = element("div", stage);
    part.style.flexGrow = times[stage];
    parts.push(part);
    const item = element("li", "");
    const words = element("span", "");
    say(words, stage, { time: times[stage].toFixed(1) });
    item.append(element("i", stage), words);
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
  say(picture, "chosen", { name: file.name });
  picture.src = URL.createObjectURL(file);
  byId("name").textContent = file.name;
  byId("drop").classList.add("filled");
  show("empty", false);
  show("unshown", false);
  show("picture", true);
  show("caption", true);
}

// An error that is told by the text `key`, and below it the line `detail`, which is in English.
class Failure extends Error {
  constructor(key, values = {}, detail = "") {
    super(key);
    Object.assign(this, { values, detail });
  }
}

// `answer`, of the script beside this one, gives the row of a file, and milliseconds by stage, or throws a Failure.
async function classify(file) {
  const mine = ++latest;
  chosen = file;
  showPicture(file);
  show("error", false);
  document.querySelector("main").setAttribute("aria-busy", "true");
  const start = performance.now();
  try {
    const { row, milliseconds } = await answer(file);
    const trip = performance.now() - start;
    if (mine !== latest) return;
    show("waiting", false);
    showRow(row);
    showLatency(milliseconds, trip);
  } catch (problem) {
    if (mine !== latest) return;
    if (problem instanceof Failure) fail(problem.message, problem.values, problem.detail);
    else fail("failed", {}, String(problem));
  } finally {
    if (mine === latest) document.querySelector("main").setAttribute("aria-busy", "false");
  }
}

function classifyFirst(files) {
  if (files.length) classify(files[0]);
  else fail("noFile");
}

const drop = byId("drop");
byId("file").addEventListener("change", (event) => {
  if (event.target.files.length) classify(event.target.files[0]);
  event.target.value = ""; // the same file again is a change, too
});
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
