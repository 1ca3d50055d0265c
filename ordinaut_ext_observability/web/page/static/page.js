"use strict";
// Keeps the page as it is on the server, and does what its buttons say. Nothing is lost without it but this.
(() => {
  const EVERY_MS = 5000, LONGEST_MS = 60000;
  const said = document.getElementById("said"), live = document.getElementById("live");
  const pause = document.getElementById("pause"), by = document.getElementById("by");
  const shown = {}; // the HTML of each section as it was last put in
  let etag = "", timer = 0, wait = EVERY_MS, paused = false, asked = 0, seenAt = new Date();

  const tell = (text, failed) => {
    said.dataset.status = failed ? "unhealthy" : "healthy";
    said.textContent = text;
  };

  // ---- moments: absolute in the document, relative on the screen
  const duration = (seconds) => {
    const size = Math.abs(seconds);
    const [unit, each] = size < 90 ? ["s", 1] : size < 5400 ? ["min", 60] : size < 172800 ? ["h", 3600] : ["d", 86400];
    return `${Math.round(size / each)} ${unit}`;
  };
  const relative = (seconds) => (seconds < -1 ? `in ${duration(seconds)}` : seconds < 1 ? "now" : `${duration(seconds)} ago`);
  const showTimes = () => {
    for (const each of document.querySelectorAll("main time")) {
      const at = new Date(each.dateTime), seconds = (Date.now() - at) / 1000;
      let text = each.dataset.for === undefined ? relative(seconds) : `for ${duration(seconds)}`;
      if (each.dataset.for === "full") text += `, since ${seconds < 86400 ? at.toLocaleTimeString() : at.toLocaleString()}`;
      if (each.textContent !== text) { each.textContent = text; each.title = at.toLocaleString(); }
    }
    const state = paused ? "Paused." : wait > EVERY_MS ? "The server does not answer; trying again." : "Kept up to date.";
    live.textContent = `${state} Last asked ${relative((Date.now() - seenAt) / 1000)}.`;
  };

  // ---- replacing a section: focus, open details and typed text stay
  const keyOf = (each) => each.id || each.dataset.key || each.closest("figure")?.id + (each.dataset.action || "") + (each.getAttribute("aria-label") || each.tagName);
  const keyed = (root) => {
    const found = new Map();
    for (const each of root.querySelectorAll("[id], [data-key], [data-action], [data-copy], .plot-area")) found.set(keyOf(each), each);
    for (const [number, each] of root.querySelectorAll("details:not([data-key])").entries()) found.set(`details ${number}`, each);
    return found;
  };
  const replace = (id, html) => {
    const old = document.getElementById(id), holder = document.createElement("template");
    holder.innerHTML = html;
    const fresh = holder.content.firstElementChild;
    if (!old || !fresh) return;
    const before = keyed(old), after = keyed(fresh), active = document.activeElement;
    const focused = old.contains(active) ? [...before].find(([, each]) => each === active)?.[0] : undefined;
    const scrolled = [...old.querySelectorAll(".scroll")].map((each) => [each.scrollTop, each.scrollLeft]);
    for (const [key, each] of before) {
      const twin = after.get(key);
      if (!twin) continue;
      if (each.tagName === "DETAILS") twin.open = each.open;
      if (each.matches("input, select, textarea")) twin.value = each.value;
    }
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((each, number) => {
      [each.scrollTop, each.scrollLeft] = scrolled[number] || [0, 0];
    });
    if (focused !== undefined) (after.get(focused) || fresh.querySelector("h2")).focus({preventScroll: true});
    fresh.dispatchEvent(new CustomEvent("replaced", {bubbles: true}));
  };

  // ---- asking for what is new
  const ask = async () => {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    const turn = ++asked;
    try {
      const query = new URLSearchParams(location.search);
      // As a person: who has signed out meanwhile gets the form, and no password window of the browser.
      const headers = {Accept: "application/json, text/html;q=0.1", ...(etag && {"If-None-Match": etag})};
      const answer = await fetch(`page?${query}`, {headers, cache: "no-store", signal: AbortSignal.timeout(15000)});
      if (turn !== asked) return;
      if (answer.status === 401 || answer.status === 404) { location.reload(); return; }
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(String(answer.status));
        const made = await answer.json();
        if (turn !== asked) return;
        etag = answer.headers.get("ETag") || "";
        document.title = made.title;
        for (const [id, html] of Object.entries(made.sections)) {
          if (shown[id] !== html) { replace(id, html); shown[id] = html; }
        }
        document.querySelector("link[rel=icon]").href = icon();
      }
      wait = EVERY_MS;
      seenAt = new Date();
      const asOf = document.getElementById("as-of");
      asOf.dateTime = seenAt.toISOString();
      asOf.textContent = `${asOf.dateTime.slice(11, 19)} UTC`;
    } catch {
      wait = Math.min(wait * 2, LONGEST_MS); // it is down, hangs or restarts: what is shown is old, and says so
    }
    showTimes();
    if (turn === asked) timer = setTimeout(ask, wait);
  };
  const icon = () => {
    const colors = {healthy: "2e7d46", degraded: "b26a00", unhealthy: "c62828"};
    const color = colors[document.getElementById("state").dataset.status] || "667085";
    return `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23${color}'/%3E%3C/svg%3E`;
  };

  // ---- actions
  const fields = (form) => Object.fromEntries(new FormData(form));
  const actor = () => by.value.trim() || "operator";
  const calls = {
    ack: (at) => ["POST", `alerts/${at.dataset.fingerprint}/ack`, {by: actor()}, "Acknowledged."],
    snooze: (at) => ["POST", `alerts/${at.dataset.fingerprint}/ack`, {kind: "snooze", for: "1h", by: actor()}, "Snoozed for an hour."],
    silence: (at, form) => ["POST", "silences", {matchers: matchers(at), by: actor(), ...fields(form)}, "Silenced."],
    maintenance: (_, form) => ["POST", "maintenance", {by: actor(), ...fields(form)}, "The maintenance has begun."],
    end: (_, button) => ["DELETE", `api/v2/silence/${encodeURIComponent(button.dataset.id)}`, undefined, "It has ended."],
    resolve: (_, button) => ["POST", `errors/${encodeURIComponent(button.dataset.id)}/resolve`, undefined, "Resolved, until it is seen again."],
    level: (_, each) => {
      if (each.tagName === "BUTTON") return ["PUT", `loggers/${encodeURIComponent(each.dataset.id)}`, {level: null}, "The change has ended."];
      const {name, ...change} = fields(each);
      return ["PUT", `loggers/${encodeURIComponent(name)}`, change, `The level of ${name} is ${change.level} now.`];
    },
  };
  const matchers = (at) => JSON.parse(at.dataset.labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const act = async (each) => {
    const [method, path, body, done] = calls[each.dataset.action](each.closest("[data-fingerprint]"), each);
    const buttons = each.tagName === "BUTTON" ? [each] : [...each.querySelectorAll("button")];
    const headers = body ? {"Content-Type": "application/json"} : {};
    buttons.forEach((button) => { button.disabled = true; });
    tell("One moment …");
    try {
      const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body)});
      if (answer.ok) {
        tell(done);
        const details = each.closest("details");
        if (details) details.open = false;
      } else {
        const problem = await answer.json().catch(() => ({}));
        tell(`It was not done: ${problem.message || (typeof problem === "string" ? problem : `the server answered ${answer.status}`)}`, true);
      }
    } catch {
      tell("It was not done: the server does not answer.", true);
    }
    buttons.forEach((button) => { button.disabled = false; });
    ask();
  };
  const copy = async (code) => {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      tell("Copied.");
    } catch { // no permission, or no TLS
      tell("It is selected: copy it with the keyboard.");
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.action) act(button);
    else if (button.dataset.copy !== undefined) copy(button.parentElement.querySelector("code"));
  });
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.action) { event.preventDefault(); act(event.target); }
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    showTimes();
    ask();
  });
  try { by.value = localStorage.getItem("ordinaut-by") || ""; } catch { /* the browser keeps nothing */ }
  by.addEventListener("change", () => { try { localStorage.setItem("ordinaut-by", by.value); } catch { /* as above */ } });

  if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname + location.search);
  document.documentElement.classList.add("scripted");
  showTimes();
  setInterval(showTimes, 1000);
  timer = setTimeout(ask, EVERY_MS);
})();
