// Keys: a button with data-key is pressed by that key, unless somebody is typing.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const button = document.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
  if (!button || event.repeat) return;
  event.preventDefault();
  button.click();
});

// A form that was sent is not sent twice while its answer takes a while; the way back makes it fresh.
const sent = new Set();
document.addEventListener(
  "submit",
  (event) => {
    if (sent.has(event.target)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    sent.add(event.target);
    event.submitter?.setAttribute("aria-disabled", "true");
  },
  true,
);
window.addEventListener("pageshow", () => {
  sent.clear();
  for (const button of document.querySelectorAll("button[aria-disabled]")) button.removeAttribute("aria-disabled");
});

// Sliders: the range shows that share of the lower picture, the rest of the upper one.
for (const slider of document.querySelectorAll("details.slider")) {
  const range = slider.querySelector("input");
  const show = () => slider.querySelector(".layers").style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", show);
  show();
  slider.hidden = false;
}

// Files that are dropped anywhere on a form with a file field are chosen in that field.
for (const form of document.querySelectorAll("form.drop")) {
  const field = form.querySelector("input[type=file]");
  const over = (event, on) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    form.classList.toggle("over", on);
  };
  form.addEventListener("dragover", (event) => over(event, true));
  form.addEventListener("dragleave", (event) => over(event, false));
  form.addEventListener("drop", (event) => {
    over(event, false);
    if (event.dataTransfer.files.length) field.files = event.dataTransfer.files;
  });
}

// A page that waits for something looks again by itself: what has changed is replaced, and nothing else moves.
const main = document.querySelector("main[data-refresh]");
if (main) {
  const look = async () => {
    let fresh;
    try {
      const answer = await fetch(location.pathname);
      if (!answer.ok) return; // the page of an error, which is over when the next look finds it so
      fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return; // the studio was stopped; it may come back
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next || next.innerHTML === part.innerHTML) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.replaceChildren(...next.childNodes);
      if (focused) document.getElementById(focused)?.focus();
    }
    if (!fresh.querySelector("main[data-refresh]")) clearInterval(timer);
  };
  const timer = setInterval(look, 1000 * Number(main.dataset.refresh));
}
