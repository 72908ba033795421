"use strict";

// ONNX Runtime Web: photos to the outputs of the network. WebAssembly prepares them and runs the network, unless the
// browser gives a GPU that answers the same in less time.

const options = new URLSearchParams(location.search);
const MOST_THREADS = 4; // more gain little with networks of this size
const MOST_APART = 1e-2; // probabilities of the GPU and of WebAssembly
const TRIALS = 3;
let runtime = null;
let preparing = null; // sessions
let network = null;
let gpu = null; // of the network, too, while it is used
let proving = null; // promise of the GPU's trial
let engineChanged = null;
let turn = Promise.resolve(); // of the sessions, which run one after another

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

// A build of ONNX Runtime Web.
async function imported({ api, loader, binary }, numThreads) {
  const [code, mjs, wasmBinary] = await Promise.all([importable(api), importable(loader), contentOf(binary)]);
  const build = await import(code);
  Object.assign(build.env.wasm, { wasmPaths: { mjs }, wasmBinary, numThreads });
  return build;
}

// Start in WebAssembly; the GPU is tried behind that. `changed` is called when the engine is another one.
async function startEngine({ runtime: onCpu, webgpu, channels }, changed) {
  const possible = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  const threads = Math.min(Number(options.get("threads")) || possible, possible);
  const graphs = ["preprocess.onnx", "model.onnx"].map((url) => contentOf({ url }));
  const [build, preparation, graph] = await Promise.all([imported(onCpu, threads), ...graphs]);
  runtime = build;
  preparing = await sessionOf(runtime, preparation, "wasm");
  network = await sessionOf(runtime, graph, "wasm");
  const image = await prepared(noise(), channels);
  await outputsOfImage(image); // the first run takes longer
  engineChanged = changed;
  const wanted = webgpu && options.get("engine") !== "wasm";
  proving = wanted ? provedGpu(webgpu, graph, image).then(useGpu, () => {}) : Promise.resolve();
}

function sessionOf({ InferenceSession }, graph, provider) {
  return InferenceSession.create(graph, { executionProviders: [provider], logSeverityLevel: 3 });
}

function useGpu(session) {
  gpu = session;
  engineChanged();
}

function engineName() {
  return gpu ? "WebGPU" : `WebAssembly × ${runtime.env.wasm.numThreads}`;
}

function noise() {
  const picture = new ImageData(64, 64);
  picture.data.forEach((_, place) => (picture.data[place] = Math.imul(place, 2654435761) >>> 24));
  return picture;
}

// The network on the GPU; null where there is none, it answers otherwise, or it is slower and not asked for.
async function provedGpu(files, graph, image) {
  if (!(await navigator.gpu?.requestAdapter())) return null;
  const session = await sessionOf(await imported(files, 1), graph, "webgpu");
  const [right, found] = [await tried(network, image), await tried(session, image)];
  const faster = found.milliseconds < right.milliseconds;
  if (agree(right.probs, found.probs) && (options.get("engine") === "webgpu" || faster)) return session;
  await session.release();
  return null;
}

function agree(right, found) {
  const near = right.every((prob, id) => Math.abs(prob - found[id]) <= MOST_APART); // NaN is not
  return near && best(right) === best(found);
}

// The answers of a session, and the median of its times after a first run.
async function tried(session, image) {
  const { probs, logits } = await session.run(feedsOf(image, false));
  const times = [];
  for (let trial = 0; trial < TRIALS; trial += 1) {
    const start = performance.now();
    await session.run(feedsOf(image, false));
    times.push(performance.now() - start);
  }
  return { probs: (probs ?? logits).data, milliseconds: times.sort((a, b) => a - b)[(TRIALS - 1) / 2] };
}

// The network's input of a photo of RGBA pixels.
async function prepared({ data: pixels, width, height }, channels) {
  const photo = new Uint8Array(3 * width * height);
  const [red, green, blue] = channels === "bgr" ? [2, 1, 0] : [0, 1, 2];
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += 3) {
    photo[to + red] = pixels[from];
    photo[to + green] = pixels[from + 1];
    photo[to + blue] = pixels[from + 2];
  }
  return (await preparing.run({ [channels]: new runtime.Tensor("uint8", photo, [1, height, width, 3]) })).x;
}

function feedsOf(image, asked) {
  return network.inputNames.length > 1 ? { x: image, with_cam: new runtime.Tensor("bool", [asked], []) } : { x: image };
}

// The outputs by name as {data, dims}; `cam` is empty unless asked, and comes from WebAssembly.
async function outputsOfImage(image, asked = false) {
  const feeds = feedsOf(image, asked);
  if (!gpu || asked) return network.run(feeds);
  try {
    return await gpu.run(feeds);
  } catch {
    useGpu(null); // it can be lost at any time
    return network.run(feeds);
  }
}

function outputsOf(picture, channels, asked) {
  const outputs = turn.then(async () => outputsOfImage(await prepared(picture, channels), asked));
  turn = outputs.catch(() => {});
  return outputs;
}
