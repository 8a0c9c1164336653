// Boxes and labels over a picture, as the command line draws them.

import { COLOURS } from "./colours.js"; // made by the server from the command line's colours

/** The colour of a class, by its index in the model. */
export const colourOf = (index) => COLOURS[index % COLOURS.length];

/** Draw picture and detections; boxes are in pixels of the picture, the canvas has any size. */
export function draw(canvas, picture, detections, chosen = null) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / picture.width;
  const unit = Math.sqrt(canvas.width * canvas.height);
  const line = Math.max(2, Math.round(unit / 330));
  const size = Math.max(11, Math.round(unit / 46));
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.lineJoin = "round";
  for (const found of [...detections].reverse()) { // the best on top
    const [left, top, right, bottom] = found.box.map((value) => value * scale);
    context.globalAlpha = chosen === null || chosen === found ? 1 : 0.25;
    context.strokeStyle = "rgb(0 0 0 / 0.45)";
    context.lineWidth = line + 2;
    context.strokeRect(left, top, right - left, bottom - top);
    context.strokeStyle = colourOf(found.index);
    context.lineWidth = line;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const found of [...detections].reverse()) {
    const [left, top] = found.box.map((value) => value * scale);
    context.globalAlpha = chosen === null || chosen === found ? 1 : 0.25;
    const text = `${found.label} ${found.score.toFixed(2)}`;
    const height = Math.round(size * 1.5);
    const width = context.measureText(text).width + size;
    const x = Math.max(0, Math.min(left - line / 2, canvas.width - width));
    const y = top - height >= 0 ? top - height : Math.min(top, canvas.height - height);
    context.fillStyle = colourOf(found.index);
    context.beginPath();
    context.roundRect(x, y, width, height, height / 5);
    context.fill();
    context.fillStyle = found.index % 3 === 2 ? "#fff" : "#111"; // on the dark third of the colours
    context.fillText(text, x + size / 2, y + height / 2 + size / 16);
  }
  context.globalAlpha = 1;
}
