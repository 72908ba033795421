"use strict";

// The page without a server: engine.js computes. model.json, beside this file, describes the model.

const STRENGTH = 0.55; // share of the heat map in its mixture with the photo
const LONGEST = 1024; // side of the mixture in pixels
let model = null;
let ready = false;
let reference = null; // embeddings of the training, where the distance to them tells unknown images
let heat = null; // of what is the heat map: {picture, id of the class}
let camera = null; // the stream of the camera while it is shown

function showEngine() {
  showModel({ ...model, engine: engineName() });
}

async function load() {
  say(byId("hint"), "hintLocal");
  say(byId("model"), "loading");
  say(document.querySelector("[data-text=server]"), "computed");
  byId("trip").parentElement.hidden = true; // of a server
  try {
    if (location.protocol === "file:") throw new Failure("needsHost");
    model = await (await fetch("model.json")).json();
    await startEngine(model, showEngine);
    if (model.reference) reference = new Float32Array(await contentOf({ url: model.reference }));
    showEngine();
    ready = true;
  } catch (problem) {
    byId("model").className = "pill gone";
    say(byId("model"), "notLoaded");
    if (problem instanceof Failure) fail(problem.message);
    else fail("notLoaded", {}, String(problem.message ?? problem));
  }
}

const loading = load();

// The RGBA pixels of an image file as they are stored, turned as its orientation says.
async function pixelsOf(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    throw new Failure("notRead", { name: file.name });
  }
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

async function answer(file) {
  await loading;
  if (!ready) throw new Failure("notLoaded");
  stopCamera();
  hideHeat();
  const start = performance.now();
  const picture = await pixelsOf(file);
  const decoded = performance.now();
  const outputs = await outputsOf(picture, model.channels);
  const computed = performance.now();
  const numbers = Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data)]));
  const probs = calibrated(numbers.probs ?? numbers.logits, model.unknown);
  const row = rowOf(probs, model);
  if (model.unknown) Object.assign(row, doubt(numbers, probs, model.unknown, reference));
  if (outputs.cam) offerHeat(picture, row.class_ids?.length ? row.class_ids[best(row.scores)] : best(probs));
  const total = performance.now() - start;
  return { row, milliseconds: { total, decode: decoded - start, inference: computed - decoded } };
}

function offerHeat(picture, id) {
  heat = { picture, id };
  show("heat", true);
  if (byId("heat").getAttribute("aria-pressed") === "true") drawHeat();
}

// The map of the class `id`, as a grey picture: 0 at the place that speaks least for it, 255 at the one that speaks most.
async function mapOf({ picture, id }) {
  const { cam } = await outputsOf(picture, model.channels, true);
  const [, , height, width] = cam.dims;
  const values = cam.data.slice(id * height * width, (id + 1) * height * width);
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const map = new ImageData(width, height);
  values.forEach((value, place) => map.data.set([(255 * (value - low)) / range, 0, 0, 255], 4 * place));
  return map;
}

function hideHeat() {
  heat = null;
  show("heat", false);
  show("overlay", false);
  show("legend-heat", false);
}

// The part of a photo that the network sees: [left, top, width, height] in its pixels.
function seenPart(width, height) {
  const { short, size, crop } = model.resize;
  const scale = short ? short / Math.min(width, height) : 0;
  const scales = short ? [scale, scale] : [size[0] / width, size[1] / height];
  const [partWidth, partHeight] = [crop[0] / scales[0], crop[1] / scales[1]];
  return [(width - partWidth) / 2, (height - partHeight) / 2, partWidth, partHeight];
}

function colourOf(share) {
  const place = share * (model.palette.length - 1);
  const index = Math.min(Math.floor(place), model.palette.length - 2);
  const [from, to] = [model.palette[index], model.palette[index + 1]];
  return from.map((value, channel) => value + (place - index) * (to[channel] - value));
}

// A picture at another size, bilinear.
function enlarged(picture, width, height) {
  const small = new OffscreenCanvas(picture.width, picture.height);
  small.getContext("2d").putImageData(picture, 0, 0);
  const large = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  large.imageSmoothingQuality = "high";
  large.drawImage(small, 0, 0, width, height);
  return large.getImageData(0, 0, width, height);
}

async function drawHeat() {
  const mine = heat;
  const { picture, id } = mine;
  const map = await mapOf(mine);
  if (mine !== heat) return; // another picture is shown
  const scale = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
  const canvas = byId("overlay");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const mixed = enlarged(picture, canvas.width, canvas.height);
  const [left, top, width, height] = seenPart(picture.width, picture.height).map((side) => Math.round(side * scale));
  const shares = enlarged(map, width, height).data;
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const place = 4 * (y * canvas.width + x);
      const grey = 0.299 * mixed.data[place] + 0.587 * mixed.data[place + 1] + 0.114 * mixed.data[place + 2];
      const seen = x >= left && x < left + width && y >= top && y < top + height;
      const colour = seen ? colourOf(shares[4 * ((y - top) * width + x - left)] / 255) : [128, 128, 128];
      for (let channel = 0; channel < 3; channel += 1) {
        mixed.data[place + channel] = (1 - STRENGTH) * grey + STRENGTH * colour[channel];
      }
    }
  }
  canvas.getContext("2d").putImageData(mixed, 0, 0);
  say(byId("legend-heat"), "heatOf", { label: () => model.names?.[id] ?? text("class", { id }) });
  show("overlay", true);
  show("legend-heat", true);
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  byId("live").srcObject = null;
  for (const id of ["live", "capture"]) show(id, false);
}

async function startCamera() {
  stopCamera();
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (problem) {
    fail("noCamera", {}, String(problem.message ?? problem));
    return;
  }
  hideHeat();
  const live = byId("live");
  live.srcObject = camera;
  for (const id of ["empty", "picture", "unshown"]) show(id, false);
  byId("drop").classList.add("filled");
  byId("name").textContent = "";
  for (const id of ["live", "caption"]) show(id, true);
  await live.play(); // from here on there is a picture to take
  show("capture", true);
  byId("capture").focus();
}

async function capture() {
  const live = byId("live");
  const canvas = new OffscreenCanvas(live.videoWidth, live.videoHeight);
  canvas.getContext("2d").drawImage(live, 0, 0);
  const blob = await canvas.convertToBlob();
  stopCamera();
  classify(new File([blob], "camera.png", { type: blob.type }));
}

function control(id, onclick) {
  const button = element("button", "button small");
  button.type = "button";
  button.id = id;
  button.addEventListener("click", onclick);
  say(button, id);
  return button;
}

function addControls() {
  const live = element("video", "layer");
  Object.assign(live, { id: "live", autoplay: true, muted: true, playsInline: true, hidden: true });
  const overlay = element("canvas", "layer");
  Object.assign(overlay, { id: "overlay", role: "img", hidden: true });
  overlay.setAttribute("aria-labelledby", "legend-heat");
  byId("drop").append(live, overlay);
  const legend = element("p", "");
  Object.assign(legend, { id: "legend-heat", hidden: true });
  byId("drop").after(legend);
  const toggled = control("heat", ({ currentTarget }) => {
    const pressed = currentTarget.getAttribute("aria-pressed") !== "true";
    currentTarget.setAttribute("aria-pressed", pressed);
    if (pressed) drawHeat();
    else for (const id of ["overlay", "legend-heat"]) show(id, false);
  });
  toggled.setAttribute("aria-pressed", false);
  const controls = element("div", "");
  controls.id = "controls";
  controls.append(control("camera", startCamera), control("capture", capture), toggled);
  byId("drop").after(controls);
  for (const id of ["heat", "capture"]) show(id, false);
  show("camera", Boolean(navigator.mediaDevices));
}

addControls();
navigator.serviceWorker?.register("worker.js").catch(() => {}); // without it the page works while there is a network
