"use strict";

let limit = Infinity;

async function answer(file) {
  if (file.size > limit) {
    const [size, most] = [file.size, limit].map((bytes) => (bytes / 1e6).toFixed(1));
    throw new Failure("tooLarge", { name: file.name, size, limit: most });
  }
  const form = new FormData();
  form.append("file", file);
  const token = byId("token").value.trim();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const query = loaded.answer === "Topk" ? "?topk=5" : ""; // other models answer in their own way
  let response, content;
  try {
    response = await fetch(`/predict${query}`, { method: "POST", body: form, headers });
    content = await response.json();
  } catch {
    throw new Failure("noAnswer");
  }
  show("ask", response.status === 401);
  if (response.ok) return { row: content.results[0], milliseconds: content.milliseconds };
  const known = `status${response.status}` in TEXTS.en;
  throw new Failure(known ? `status${response.status}` : "failed", {}, response.status === 401 ? "" : content.error);
}

async function watchServer() {
  const pill = byId("model");
  try {
    const response = await fetch("/ready");
    const state = await response.json();
    if (state.ready) {
      limit = state.max_bytes;
      showModel(state);
    } else {
      pill.className = "pill";
      say(pill, state.status);
    }
    setTimeout(watchServer, state.ready ? 10000 : 500);
  } catch {
    pill.className = "pill gone";
    say(pill, "gone");
    setTimeout(watchServer, 2000);
  }
}

byId("token").addEventListener("change", () => classify(chosen));
watchServer();
