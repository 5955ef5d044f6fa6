// Find what is cut, sticks out or is hard to read in a page. Returns a list of sentences.
(theme) => {
  document.documentElement.dataset.theme = theme;
  if (!document.getElementById("no-transitions")) {
    const style = document.createElement("style");
    style.id = "no-transitions"; // colours would be measured half-way
    style.textContent = "* { transition: none !important; animation: none !important; }";
    document.head.append(style);
  }
  const width = window.innerWidth;
  const faults = new Set();

  // The lowest ratio of the lightness of a text and its background (WCAG, large text).
  const LEAST_CONTRAST = 3;

  const describe = (element) => {
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    const classes = [...element.classList].slice(0, 2).map((name) => "." + name);
    return `<${element.localName}${classes.join("")}> "${text}"`;
  };
  // A box around the heading is the page itself, which must not scroll sideways.
  const scrolls = (element) =>
    ["auto", "scroll"].includes(getComputedStyle(element).overflowX) &&
    !element.querySelector("h1");
  const inScroller = (element) => {
    for (let around = element.parentElement; around; around = around.parentElement) {
      if (scrolls(around)) return true;
    }
    return false;
  };

  const numbers = (colour) => {
    const parts = colour.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const unit = colour.startsWith("color(") ? 1 : 255;
    const [red, green, blue, alpha = 1] = parts;
    return { channels: [red / unit, green / unit, blue / unit], alpha };
  };
  const over = (front, back) => front.channels.map(
    (channel, i) => front.alpha * channel + (1 - front.alpha) * back[i]);
  const background = (element) => {
    const layers = [];
    for (let around = element; around; around = around.parentElement) {
      layers.push(numbers(getComputedStyle(around).backgroundColor));
      if (layers.at(-1).alpha === 1) break;
    }
    return layers.reduceRight((back, layer) => over(layer, back), [1, 1, 1]);
  };
  const lightness = (channels) => {
    const [red, green, blue] = channels.map(
      (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };

  if (document.documentElement.scrollWidth > width) {
    faults.add(`the page is ${document.documentElement.scrollWidth} pixels wide`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    if (element.namespaceURI !== document.body.namespaceURI) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) {
      continue;
    }
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue; // for screen readers
    if (box.bottom + window.scrollY <= 0) continue; // comes down if it has the focus
    const style = getComputedStyle(element);
    const inside = inScroller(element);
    if (!inside && (box.right > width + 1 || box.left < -1)) {
      faults.add(`over the edge: ${describe(element)}`);
    }
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth) {
      if (["hidden", "clip"].includes(style.overflowX)) {
        faults.add(`cut: ${describe(element)}`);
      } else if (!inside && !scrolls(element)) {
        faults.add(`sticks out of its box: ${describe(element)}`);
      }
    }
    const writes = [...element.childNodes].some(
      (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (writes) {
      const back = background(element);
      const [dark, light] = [lightness(over(numbers(style.color), back)),
        lightness(back)].sort((a, b) => a - b);
      const contrast = (light + 0.05) / (dark + 0.05);
      if (contrast < LEAST_CONTRAST) {
        faults.add(`${contrast.toFixed(1)} times as light as its background: ` +
          describe(element));
      }
    }
  }
  return [...faults];
}
