// Turns the slices, lights the looks, reads positions. It knows numbers only: every text is already in the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [width, height, depth] = data.frame;
  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const stage = byId("stage"), slider = byId("slider"), track = byId("track"), shade = byId("shade");
  const images = all(".stage img"), boxes = all(".box"), tags = all(".tag"), planes = all("[data-plane]");
  const state = { slice: data.start, held: -1, hover: -1, x: width / 2, y: height / 2 };

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const inView = (n) => data.looks[n].first <= state.slice && state.slice < data.looks[n].last;
  const text = (value, digits = 1) => (Math.abs(value) < 0.05 ? 0 : value).toFixed(digits).replace("-", "\u2212");

  // ---- what is drawn -------------------------------------------------------------------------------------------
  function draw() {
    images.forEach((image, z) => image.classList.toggle("on", z === state.slice));
    if (slider) {
      slider.value = state.slice;
      slider.setAttribute("aria-valuetext", `slice ${state.slice} of 0 to ${depth - 1}`);
      byId("cell").setAttribute("x", state.slice);
    }
    boxes.forEach((box, n) => box.classList.toggle("off", !inView(n)));
    planes.forEach((plane) => plane.classList.toggle("off", Number(plane.dataset.plane) !== state.slice));
    byId("slice").replaceChildren(...sliceWords());
    light();
    placeTags();
    read();
  }

  function sliceWords() {
    if (depth === 1) return [];
    const words = [document.createElement("b"), document.createElement("span")];
    words[0].textContent = `Slice ${state.slice}`;
    const [first, last] = data.covered[state.slice];
    const range = last - first > 1 ? `${first}–${last - 1}` : `${first}`;
    words[1].textContent = `of 0–${depth - 1}  ·  source ${data.axis} ${range}`;
    return words;
  }

  function light() {
    const lit = state.hover >= 0 ? state.hover : state.held;
    const shown = lit >= 0 && inView(lit);
    for (const node of all("[data-look]")) {
      const n = Number(node.dataset.look);
      node.classList.toggle("lit", n === lit && (!node.dataset.slice || Number(node.dataset.slice) === state.slice));
      node.classList.toggle("held", n === state.held);
      if (node.classList.contains("look")) node.setAttribute("aria-pressed", String(n === state.held));
    }
    stage.classList.toggle("spot", shown);
    if (shown) {
      const [x1, y1, x2, y2] = data.looks[lit].rect;
      shade.setAttribute("d", `M0 0H${width}V${height}H0Z M${x1} ${y1}H${x2}V${y2}H${x1}Z`);
    }
  }

  // Numbers stand at a corner of their box, outside where there is room, and never on top of each other.
  function placeTags() {
    const w = stage.clientWidth, h = stage.clientHeight, taken = [];
    tags.forEach((tag, n) => {
      tag.hidden = !inView(n);
      if (tag.hidden) return;
      const [x1, y1, x2, y2] = data.looks[n].rect.map((v, k) => (k % 2 ? (v * h) / height : (v * w) / width));
      const tw = tag.offsetWidth, th = tag.offsetHeight, gap = 3;
      const spots = [[x1, y1 - th - gap], [x2 - tw, y1 - th - gap], [x1, y2 + gap], [x2 - tw, y2 + gap],
        [x1 - tw - gap, y1], [x2 + gap, y1], [x1 + gap, y1 + gap], [x2 - tw - gap, y2 - th - gap]];
      const free = ([x, y]) => x >= 0 && y >= 0 && x + tw <= w && y + th <= h
        && taken.every(([a, b, c, d]) => x >= c + 2 || a >= x + tw + 2 || y >= d + 2 || b >= y + th + 2);
      const [x, y] = spots.find(free) || [clamp(x1, 0, w - tw), clamp(y1, 0, h - th)];
      tag.style.transform = `translate(${x}px, ${y}px)`;
      taken.push([x, y, x + tw, y + th]);
    });
  }

  // ---- positions -----------------------------------------------------------------------------------------------
  const apply = (matrix, point) => matrix.map((row) => point.reduce((sum, v, k) => sum + v * row[k], row[point.length]));

  function read() {
    const point = data.toVoxel.length === 3 ? [state.x, state.y, state.slice + 0.5] : [state.x, state.y];
    const names = data.toVoxel.length === 3 ? ["i", "j", "k"] : ["x", "y"];
    const z = data.toVoxel.length === 3 ? `  z ${state.slice}` : "";
    byId("read-model").textContent = `x ${text(state.x)}  y ${text(state.y)}${z}`;
    const voxel = apply(data.toVoxel, point).map((v) => Math.floor(v + 1e-9));
    byId("read-voxel").textContent = voxel.map((v, k) => `${names[k]} ${v}`).join("  ");
    byId("read-world-row").hidden = !data.toWorld;
    if (!data.toWorld) return;
    const letters = [["L", "R"], ["P", "A"], ["H", "F"]];
    const world = apply(data.toWorld, point);
    byId("read-world").textContent = world.map((v, k) => `${"xyz"[k]} ${text(v)} ${letters[k][v <= -0.05 ? 1 : 0]}`).join("  ");
  }

  function point(event) {
    const area = stage.getBoundingClientRect();
    state.x = clamp(((event.clientX - area.left) / area.width) * width, 0, width - 1e-6);
    state.y = clamp(((event.clientY - area.top) / area.height) * height, 0, height - 1e-6);
    byId("cross").hidden = true;
    read();
  }

  function nudge(dx, dy) {
    state.x = clamp(state.x + (dx * width) / 64, 0, width - 1e-6);
    state.y = clamp(state.y + (dy * height) / 64, 0, height - 1e-6);
    const cross = byId("cross");
    cross.hidden = false;
    cross.style.transform = `translate(${(state.x / width) * stage.clientWidth}px, ${(state.y / height) * stage.clientHeight}px)`;
    read();
    say(["read-model", "read-voxel", "read-world"].map((id) => byId(id).textContent).join("; "));
  }

  // ---- moving --------------------------------------------------------------------------------------------------
  const say = (words) => { byId("live").textContent = words; };

  function go(slice) {
    const next = clamp(Math.round(slice), 0, depth - 1);
    if (next === state.slice) return;
    state.slice = next;
    draw();
  }

  function hold(n, slice) {
    const again = state.held === n && inView(n) && slice === undefined;
    state.held = again ? -1 : n;
    state.hover = -1;
    if (!again) state.slice = clamp(slice === undefined ? data.looks[n].home : slice, 0, depth - 1);
    draw();
    say(again ? "No look is lit" : `Look ${n + 1} is lit on slice ${state.slice}`);
    if (!again) reveal();
  }

  // On a narrow screen the slices may be out of sight: bring them back.
  function reveal() {
    const area = stage.getBoundingClientRect();
    const visible = Math.min(area.bottom, innerHeight) - Math.max(area.top, 0);
    if (visible < 0.6 * Math.min(area.height, innerHeight)) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      stage.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    }
  }

  const page = Math.max(2, Math.round(depth / 8));
  const moves = {
    ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: page, PageDown: -page, Home: -depth, End: depth,
  };
  const turns = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.shiftKey && event.key in turns) nudge(...turns[event.key]);
    else if (event.key in moves && depth > 1) {
      go(state.slice + moves[event.key]);
      say(`Slice ${state.slice}`);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && state.held >= 0) hold(state.held);
    else if (event.key.toLowerCase() === "b") { byId("boxes").checked = !byId("boxes").checked; showBoxes(); }
    else if (event.key.toLowerCase() === "m" && masks) { masks.checked = !masks.checked; showMasks(); }
  });

  let turned = 0;
  if (depth > 1) stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    event.preventDefault();
    const push = event.deltaMode === 1 ? event.deltaY * 40 : event.deltaY;
    turned += clamp(push, -40, 40); // one notch of a wheel, or 40 px of a trackpad, is one slice
    const steps = Math.trunc(turned / 40);
    turned -= steps * 40;
    go(state.slice - steps);
    point(event);
  }, { passive: false });

  stage.addEventListener("pointermove", point);
  let swipe = null;
  stage.addEventListener("pointerdown", (event) => {
    point(event);
    if (event.pointerType === "touch" && depth > 1) swipe = { x: event.clientX, slice: state.slice };
  });
  stage.addEventListener("pointermove", (event) => {
    if (swipe) go(swipe.slice + ((event.clientX - swipe.x) / stage.clientWidth) * depth);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { swipe = null; });

  if (slider) {
    const scrub = (event) => {
      const area = track.getBoundingClientRect();
      go(Math.floor(clamp((event.clientX - area.left) / area.width, 0, 1 - 1e-9) * depth));
    };
    track.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      track.setPointerCapture(event.pointerId);
      slider.focus({ preventScroll: true });
      scrub(event);
    });
    track.addEventListener("pointermove", (event) => { if (track.hasPointerCapture(event.pointerId)) scrub(event); });
    slider.addEventListener("input", () => go(Number(slider.value)));
    byId("back").addEventListener("click", () => go(state.slice - 1));
    byId("forward").addEventListener("click", () => go(state.slice + 1));
  }

  for (const button of all("button[data-look]")) {
    const n = Number(button.dataset.look);
    const slice = button.dataset.slice === undefined ? undefined : Number(button.dataset.slice);
    button.addEventListener("click", () => hold(n, slice));
    for (const [name, value] of [["pointerenter", n], ["pointerleave", -1], ["focus", n], ["blur", -1]]) {
      button.addEventListener(name, () => { state.hover = value; light(); });
    }
  }

  const masks = byId("masks");
  const showMasks = () => stage.classList.toggle("unmasked", !masks.checked);
  if (masks) masks.addEventListener("change", showMasks);
  const showBoxes = () => stage.classList.toggle("bare", !byId("boxes").checked);
  byId("boxes").addEventListener("change", showBoxes);
  addEventListener("resize", placeTags);
  draw();
})();
