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

function contents(content = {}) {
  return Object.entries(content).map(([type, { schema }]) =>
    element("details", "", element("summary", type), element("pre", JSON.stringify(resolve(schema), null, 2))));
}

function route(path, method, operation) {
  const card = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.summary));
  card.className = "card";
  if (operation.security) card.append(element("p", "Needs the header Authorization: Bearer TOKEN."));
  for (const { name, in: place, schema } of operation.parameters ?? []) {
    card.append(element("details", "", element("summary", `${name} (${place})`),
      element("pre", JSON.stringify(schema, null, 2))));
  }
  card.append(...contents(operation.requestBody?.content));
  for (const [status, { description, content }] of Object.entries(operation.responses)) {
    card.append(element("h3", `${status}: ${description}`), ...contents(content));
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
