// Find what is cut, sticks out or is hard to read in a page. Returns a list of sentences.
(theme) => {
  // The lowest ratio of the lightness of a text and its background (WCAG, large text).
  const LEAST_CONTRAST = 3;

  document.documentElement.dataset.theme = theme;
  if (!document.getElementById("no-transitions")) {
    const style = document.createElement("style");
    style.id = "no-transitions"; // colours would be measured half-way
    style.textContent = "* { transition: none !important; animation: none !important; }";
    document.head.append(style);
  }
  const page = document.documentElement;
  const width = window.innerWidth;
  const faults = new Set();

  const describe = (element) => {
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    const classes = [...element.classList].slice(0, 2).map((name) => "." + name);
    return `<${element.localName}${classes.join("")}> "${text}"`;
  };

  // Colours are [red, green, blue] from 0 to 1.
  const parsed = new Map(); // a page has thousands of elements, and ten colours
  const parse = (colour) => {
    const parts = colour.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const unit = colour.startsWith("color(") ? 1 : 255;
    const alpha = parts.length > 3 ? parts[3] : 1;
    parsed.set(colour, [...parts.slice(0, 3).map((part) => part / unit), alpha]);
    return parsed.get(colour);
  };
  const over = (colour, back) => {
    const parts = parsed.get(colour) ?? parse(colour);
    const alpha = parts[3];
    if (alpha === 0) return back;
    return back.map((channel, i) => alpha * parts[i] + (1 - alpha) * channel);
  };
  const lightness = (colour) => {
    const [red, green, blue] = colour.map(
      (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };

  const checkPlace = (element, style, inScroller, scrolls) => {
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) return; // for screen readers
    if (box.bottom + window.scrollY <= 0) return; // comes down if it has the focus
    if (!inScroller && (box.right > width + 1 || box.left < -1)) {
      faults.add(`over the edge: ${describe(element)}`);
    }
    if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) {
      if (["hidden", "clip"].includes(style.overflowX)) {
        faults.add(`cut: ${describe(element)}`);
      } else if (!inScroller && !scrolls) {
        faults.add(`sticks out of its box: ${describe(element)}`);
      }
    }
  };
  const checkContrast = (element, style, back) => {
    const writes = [...element.childNodes].some(
      (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!writes) return;
    const found = [lightness(over(style.color, back)), lightness(back)];
    const contrast = (Math.max(...found) + 0.05) / (Math.min(...found) + 0.05);
    if (contrast < LEAST_CONTRAST) {
      faults.add(`contrast of ${contrast.toFixed(1)}: ${describe(element)}`);
    }
  };
  const visit = (element, inScroller, back) => {
    if (element.namespaceURI !== page.namespaceURI) return; // formulas and drawings
    const style = getComputedStyle(element);
    if (style.display === "none" || style.opacity === "0") return;
    back = over(style.backgroundColor, back);
    // A box around the heading is the page itself, which must not scroll sideways.
    const scrolls = ["auto", "scroll"].includes(style.overflowX) &&
      !element.querySelector("h1");
    if (style.visibility === "visible" && style.display !== "contents") {
      checkPlace(element, style, inScroller, scrolls);
      checkContrast(element, style, back);
    }
    for (const child of element.children) visit(child, inScroller || scrolls, back);
  };

  if (page.scrollWidth > width) {
    faults.add(`the page is ${page.scrollWidth} pixels wide`);
  }
  visit(document.body, false, over(getComputedStyle(page).backgroundColor, [1, 1, 1]));
  return [...faults];
}
