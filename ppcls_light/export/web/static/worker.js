// Keeps FILES, so that the page works without a network from the second load on; the export writes FILES and DIGEST above.
// Its answers are isolated from other sites, which browsers ask for before they give a page threads.

const OWN = `ppcls_light ${self.registration.scope} `; // other models may be of the same origin
const CACHE = OWN + DIGEST;

self.addEventListener("install", (event) => {
  const fresh = FILES.map((url) => new Request(url, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith(OWN) && name !== CACHE);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
});

async function isolated(request) {
  const cache = await caches.open(CACHE);
  const found = (await cache.match(request, { ignoreSearch: true })) ?? (await fetch(request));
  if (!request.url.startsWith(self.location.origin)) return found;
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(isolated(event.request));
});
