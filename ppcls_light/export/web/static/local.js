"use strict";

// The page without a server: ONNX Runtime Web computes here. model.json, beside this file, describes the model.

const options = new URLSearchParams(location.search);
const MOST_THREADS = 4; // more gain little with networks of this size
const STRENGTH = 0.55; // share of the heat map in its mixture with the photo
const LONGEST = 1024; // side of the mixture in pixels
let model = null;
let runtime = null;
let session = null;
let reference = null; // embeddings of the training, where the distance to them tells unknown images
let heat = null; // of what is the heat map: {picture, id of the class}
let camera = null; // the stream of the camera while it is shown

// The content of a file that model.json names; one of another site must have the digest that is written there.
async function contentOf({ url, integrity }) {
  const response = await fetch(url, integrity ? { integrity, mode: "cors" } : {});
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  const content = await response.arrayBuffer();
  const [first, second] = new Uint8Array(content, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return content; // some hosts have the browser unpack gzip
  return new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// An address of a script from which it can be imported: of another site its content, which was compared.
async function importable(file) {
  if (!file.integrity) return new URL(file.url, location.href).href;
  return URL.createObjectURL(new Blob([await contentOf(file)], { type: "text/javascript" }));
}

async function load() {
  say(byId("hint"), "hintLocal");
  say(byId("model"), "loading");
  say(document.querySelector("[data-text=server]"), "computed");
  byId("trip").parentElement.hidden = true; // of a server
  try {
    if (location.protocol === "file:") throw new Failure("needsHost");
    model = await (await fetch("model.json")).json();
    const { api, loader, binary } = model.runtime;
    const [code, start, wasmBinary, graph] = await Promise.all([
      importable(api), importable(loader), contentOf(binary), contentOf({ url: "model.onnx" }),
    ]);
    if (model.reference) reference = new Float32Array(await contentOf({ url: model.reference }));
    runtime = await import(code);
    runtime.env.wasm.wasmPaths = { mjs: start };
    runtime.env.wasm.wasmBinary = wasmBinary;
    const possible = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
    runtime.env.wasm.numThreads = Math.min(Number(options.get("threads")) || possible, possible);
    session = await runtime.InferenceSession.create(graph, { executionProviders: ["wasm"] });
    await outputsOf(new ImageData(32, 32)); // the first run takes longer
    showModel({ ...model, engine: `WebAssembly × ${runtime.env.wasm.numThreads}` });
  } catch (problem) {
    byId("model").className = "pill gone";
    say(byId("model"), "notLoaded");
    if (problem instanceof Failure) fail(problem.message);
    else fail("notLoaded", {}, String(problem.message ?? problem));
  }
}

const loading = load();

// Run the network on a photo of RGBA pixels, and return its outputs by name as {data, dims}; `cam` is empty unless asked.
async function outputsOf({ data: pixels, width, height }, asked = false) {
  const photo = new Uint8Array(3 * width * height);
  const [red, green, blue] = model.channels === "bgr" ? [2, 1, 0] : [0, 1, 2];
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += 3) {
    photo[to + red] = pixels[from];
    photo[to + green] = pixels[from + 1];
    photo[to + blue] = pixels[from + 2];
  }
  const inputs = { [model.channels]: new runtime.Tensor("uint8", photo, [1, height, width, 3]) };
  if (session.inputNames.length > 1) inputs.with_cam = new runtime.Tensor("bool", [asked], []);
  return session.run(inputs);
}

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
  if (!session) throw new Failure("notLoaded");
  stopCamera();
  hideHeat();
  const start = performance.now();
  const picture = await pixelsOf(file);
  const decoded = performance.now();
  const outputs = await outputsOf(picture);
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
  const { cam } = await outputsOf(picture, true);
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
