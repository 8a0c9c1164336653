// What the page asks of its server.

/** An answer that is an error; `code` is stable, `wait` is in seconds. */
export class Refused extends Error {
  constructor(message, code, wait) {
    super(message);
    this.code = code;
    this.wait = wait;
  }
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached.", "unreachable", 0);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(body.error ?? answer.statusText, body.code ?? "", Number(answer.headers.get("Retry-After")) || 0);
}

/** The model that detects: its metadata in the Open Inference Protocol. */
export async function model() {
  return (await ask("/v2/models/ssd-resnet34")).json();
}

/** All detections over the lowest score, the milliseconds of each stage, and of the round trip. */
export async function detect(file, lowest, signal) {
  const began = performance.now();
  const form = new FormData();
  form.append("image", file, file.name || "pasted");
  const answer = await ask(`/detect?score_threshold=${lowest}`, { method: "POST", body: form, signal });
  const found = await answer.json();
  const total = performance.now() - began;
  return { found, stages: stagesOf(answer.headers.get("Server-Timing") ?? ""), total };
}

/** The picture itself as PNG, for formats that the browser cannot show. */
export async function asPng(file, signal) {
  const options = { method: "POST", body: file, headers: { Accept: "image/png" }, signal };
  return (await ask("/detect?score_threshold=1", options)).blob();
}

function stagesOf(header) {
  return header.split(",").filter(Boolean).map((entry) => {
    const [name, duration] = entry.trim().split(";dur=");
    return { name, milliseconds: Number(duration) };
  });
}
