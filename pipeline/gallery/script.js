"use strict";
const find = (selector, root = document) => root.querySelector(selector);
const cards = [...document.querySelectorAll(".card")];
const views = [...document.querySelectorAll("input[name=view]")];
const slider = find("#strength");
const viewer = find("#viewer");
let shown = -1;
let lastStrength = slider.value;

function load(key) { try { return sessionStorage.getItem(key); } catch { return null; } }
function save(key, value) { try { sessionStorage.setItem(key, value); } catch { /* private mode */ } }

function setStrength(value) {
  slider.value = value;
  if (slider.value > 0) lastStrength = slider.value;
  document.documentElement.style.setProperty("--strength", slider.value / 100);
  save("strength", slider.value);
}

function setView(view) {
  view.checked = true;
  save("view", view.id);
}

function makePane(card, selector, label, style) {
  const pane = find(selector, card).cloneNode(true);
  pane.dataset.label = label;
  if (style) pane.classList.add(style);
  pane.querySelectorAll("img").forEach((image) => { image.loading = "eager"; });
  return pane;
}

function show(index) {
  if (index < 0 || index >= cards.length) return;
  shown = index;
  const card = cards[index];
  const group = document.createElement("span");
  group.textContent = `${find("h2", card.closest(".group")).textContent} / `;
  find(".where", viewer).replaceChildren(group, find(".name", card).textContent);
  const large = find(".large", viewer);
  large.style.setProperty("--a", card.style.getPropertyValue("--a"));
  const hasErrors = find(".errors", card) !== null;
  large.classList.toggle("six", hasErrors);
  large.replaceChildren(
    makePane(card, ".photo", "Overlay"),
    makePane(card, ".photo", "Cut-out", "cutout"),
    ...(hasErrors ? [makePane(card, ".photo", "Errors", "with-errors"), makePane(card, ".mask", "Mask")] : []),
    makePane(card, ".sism", "SISM"),
    makePane(card, ".map", "Map"),
  );
  find(".details", viewer).replaceChildren(find(".scores", card).cloneNode(true));
  find(".previous", viewer).disabled = index === 0;
  find(".next", viewer).disabled = index === cards.length - 1;
  if (!viewer.open) viewer.showModal();
}

function focusCard(index) {
  const card = cards[Math.max(0, Math.min(cards.length - 1, index))];
  if (!card) return;
  find(".panes", card).focus();
  card.scrollIntoView({ block: "nearest" });
}

function step(direction) {
  if (viewer.open) show(shown + direction);
  else {
    const current = cards.indexOf(document.activeElement.closest(".card"));
    focusCard(current < 0 ? 0 : current + direction);
  }
}

views.forEach((view) => view.addEventListener("change", () => setView(view)));
slider.addEventListener("input", () => setStrength(slider.value));
cards.forEach((card, index) => find(".panes", card).addEventListener("click", () => show(index)));
find(".previous", viewer).addEventListener("click", () => show(shown - 1));
find(".next", viewer).addEventListener("click", () => show(shown + 1));
find(".close", viewer).addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => focusCard(shown));

let touched = null;
viewer.addEventListener("touchstart", (event) => { touched = event.changedTouches[0]; }, { passive: true });
viewer.addEventListener("touchend", (event) => {
  const end = event.changedTouches[0];
  const [x, y] = [end.clientX - touched.clientX, end.clientY - touched.clientY];
  if (Math.abs(x) > 50 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1);
}, { passive: true });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key in moves) {
    if (event.target.matches("input")) return;
    event.preventDefault();
    step(moves[event.key]);
  } else if (/^[1-9]$/.test(event.key) && event.key <= views.length) {
    setView(views[event.key - 1]);
  } else if (event.key.toLowerCase() === "t") {
    setStrength(slider.value > 0 ? 0 : lastStrength);
  }
});

const view = document.getElementById(load("view") ?? "");
if (views.includes(view)) view.checked = true;
setStrength(load("strength") ?? slider.value);
