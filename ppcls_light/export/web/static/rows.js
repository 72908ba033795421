"use strict";

// Rows of probabilities, as the package's prediction/postprocess.py and prediction/unknown.py make them.

const LEAST = 1e-30; // probability, so that its logarithm is finite
const NEIGHBOUR = 5; // the nearest image of the training whose distance counts, at most

function softmax(logits) {
  const largest = Math.max(...logits);
  const parts = logits.map((logit) => Math.exp(logit - largest));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => part / total);
}

// The probabilities, at the temperature of the section `unknown` if the model has it.
function calibrated(probs, unknown) {
  if (!unknown) return probs;
  return softmax(probs.map((prob) => Math.log(Math.max(prob, LEAST)) / unknown.temperature));
}

function best(numbers) {
  return numbers.reduce((found, number, index) => (number > numbers[found] ? index : found), 0);
}

function rowOf(probs, model) {
  const limits = [model.threshold ?? []].flat().map(Math.fround);
  const everyone = probs.map((_, id) => id);
  let ids;
  if (model.answer === "ScoreOutput") {
    const unit = 10 ** model.decimals;
    return { scores: probs.map((number) => Math.round(number * unit) / unit) };
  }
  if (model.answer === "MultiLabelThreshOutput") {
    ids = everyone.filter((id) => probs[id] >= limits[limits.length > 1 ? id : 0]);
  } else if (model.answer === "ThreshOutput") {
    const first = best(probs);
    if (probs.length === 2) ids = [probs[1] >= limits[0] ? 1 : 0];
    else ids = [probs[first] > limits[0] ? first : model.otherwise];
  } else {
    ids = everyone.sort((a, b) => probs[b] - probs[a]).slice(0, model.topk); // of equal ones the lower class first
  }
  return { class_ids: ids, scores: ids.map((id) => probs[id]), label_names: model.names ? ids.map((id) => model.names[id]) : [] };
}

function energy(logits) {
  const largest = Math.max(...logits);
  return -(largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)));
}

// 1 - cosine of the embedding and one of the nearest of `reference`, Float32Array of unit vectors in a row.
function distance(embedding, reference, classes) {
  const length = Math.hypot(...embedding);
  const size = embedding.length;
  const count = reference.length / size;
  const cosines = new Float32Array(count);
  for (let image = 0; image < count; image += 1) {
    let sum = 0;
    for (let place = 0; place < size; place += 1) sum += embedding[place] * reference[image * size + place];
    cosines[image] = sum / length;
  }
  const place = Math.max(1, Math.min(NEIGHBOUR, Math.floor(count / (2 * classes))));
  return 1 - cosines.sort()[count - place];
}

// Whether an image is of no class, and the score that says so, of the outputs by name as arrays.
function doubt(outputs, probs, unknown, reference) {
  const ofEnergy = unknown.score === "energy";
  const score = ofEnergy ? energy(outputs.logits) : distance(outputs.embedding, reference, probs.length);
  const limits = unknown.thresholds;
  return { unknown: !(score <= limits[limits.length > 1 ? best(probs) : 0]), unknown_score: score };
}
