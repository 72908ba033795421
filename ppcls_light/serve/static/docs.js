"use strict";

let components = {};

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// The schema with what it refers to in place; these schemas hold no circle.
function resolve(schema) {
  if (Array.isArray(schema)) return schema.map(resolve);
  if (schema === null || typeof schema !== "object") return schema;
  if (schema.$ref) return resolve(components[schema.$ref.split("/").pop()]);
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== "title").map(([key, value]) =>
    [key, resolve(value)]));
}

// An element whose text follows the chosen language.
function said(tag, key, values) {
  const made = document.createElement(tag);
  say(made, key, values);
  return made;
}

function contents(content = {}) {
  return Object.entries(content).map(([type, { schema }]) =>
    element("details", "", element("summary", type), element("pre", JSON.stringify(resolve(schema), null, 2))));
}

function route(path, method, operation) {
  const summary = said("p", "sentence", { sentence: () => translated(operation.summary) });
  const card = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), summary);
  card.className = "card";
  if (operation.security) card.append(said("p", "needsToken"));
  for (const { name, in: place, schema } of operation.parameters ?? []) {
    card.append(element("details", "", said("summary", place, { name }),
      element("pre", JSON.stringify(schema, null, 2))));
  }
  card.append(...contents(operation.requestBody?.content));
  for (const [status, { description, content }] of Object.entries(operation.responses)) {
    card.append(said("h3", "status", { status, description: () => translated(description) }), ...contents(content));
  }
  return card;
}

async function load() {
  const api = await (await fetch("/openapi.json")).json();
  components = api.components.schemas;
  document.getElementById("routes").replaceChildren(...Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => route(path, method, operation))));
}
load();
