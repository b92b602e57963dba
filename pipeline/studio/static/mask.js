// Painting a mask: paint on a transparent canvas over the photo; saved as white on black, in the canvas's size.
const canvas = document.getElementById("mask");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const size = document.getElementById("size");
const file = document.getElementById("file");
const form = document.getElementById("save");
const undone = [];
const MOST_UNDONE = 12;
const PAINT = "#e0218a"; // told apart from the subject more easily than white
let last = null; // where the stroke is, in pixels of the canvas
let touched = false;
let before = null; // the mask that the page came with

const radius = () => (size.value / 200) * Math.max(canvas.width, canvas.height);
const erases = () => document.querySelector("input[name=tool]:checked").value === "erase";

function remember() {
  undone.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  if (undone.length > MOST_UNDONE) undone.shift();
  touched = true;
}

function stroke(from, to) {
  pen.globalCompositeOperation = erases() ? "destination-out" : "source-over";
  pen.strokeStyle = PAINT;
  pen.lineCap = "round";
  pen.lineWidth = 2 * radius();
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + 0.01, to.y);
  pen.stroke();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * canvas.width,
    y: ((event.clientY - box.top) / box.height) * canvas.height,
  };
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  remember();
  last = place(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  if (!last || !canvas.hasPointerCapture(event.pointerId)) return;
  const next = place(event);
  stroke(last, next);
  last = next;
});

const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const brush = { x: canvas.width / 2, y: canvas.height / 2 };
const cursor = document.createElement("span");
cursor.className = "brush";
canvas.after(cursor);
function showBrush() {
  cursor.style.left = `${(brush.x / canvas.width) * 100}%`;
  cursor.style.top = `${(brush.y / canvas.height) * 100}%`;
  cursor.style.width = `${((2 * radius()) / canvas.width) * 100}%`;
}
canvas.addEventListener("keydown", (event) => {
  if (event.key === " ") {
    remember();
    stroke(brush, brush);
  } else if (keys[event.key]) {
    const [x, y] = keys[event.key];
    brush.x = Math.min(canvas.width, Math.max(0, brush.x + x * radius()));
    brush.y = Math.min(canvas.height, Math.max(0, brush.y + y * radius()));
    showBrush();
  } else return;
  event.preventDefault();
});
size.addEventListener("input", showBrush);
showBrush();

function clear() {
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, canvas.width, canvas.height);
}
document.getElementById("undo").addEventListener("click", () => {
  if (undone.length) pen.putImageData(undone.pop(), 0, 0);
});
document.getElementById("reset").addEventListener("click", () => {
  remember();
  clear();
  if (before) pen.drawImage(before, 0, 0);
});
document.getElementById("clear").addEventListener("click", () => {
  remember();
  clear();
});

if (canvas.dataset.now) {
  before = new Image();
  before.addEventListener("load", () => pen.drawImage(before, 0, 0));
  before.src = canvas.dataset.now;
}
document.getElementById("paint").hidden = false;
document.getElementById("upload").open = false;

form.addEventListener("submit", (event) => {
  if (file.files.length && !touched) return; // somebody chose a file instead
  event.preventDefault();
  const sheet = document.createElement("canvas");
  sheet.width = canvas.width;
  sheet.height = canvas.height;
  const ink = sheet.getContext("2d");
  ink.drawImage(canvas, 0, 0);
  for (const [how, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
    ink.globalCompositeOperation = how;
    ink.fillStyle = colour;
    ink.fillRect(0, 0, sheet.width, sheet.height);
  }
  sheet.toBlob((blob) => {
    const list = new DataTransfer();
    list.items.add(new File([blob], "mask.png", { type: "image/png" }));
    file.files = list.files;
    form.submit();
  }, "image/png");
});
