// The page is whole without this. It brings the page up to date in its place, and copies commands.
"use strict";
const INTERVAL_MS = 5000;
const box = document.querySelector("#refresh");
const wanted = box.querySelector("input");
const title = document.title;
box.hidden = false;

function isInUse(main) {
  return main.contains(document.activeElement) && document.activeElement.matches("input, select")
    || String(document.getSelection()) !== "";
}

function addButtons() {
  if (!navigator.clipboard) return;
  for (const command of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
    });
    command.append(button);
  }
}

// A page that stands still must not look like a bridge that is well.
function sayNoAnswer() {
  const sentence = document.querySelector("h1");
  sentence.className = "bad";
  sentence.textContent = `No answer from the bridge. What is below is as of ${document.querySelector("main time").dateTime}.`;
  document.title = `(no answer) ${title}`;
}

async function refresh() {
  const main = document.querySelector("main");
  if (!wanted.checked || document.hidden || isInUse(main)) return;
  // A bridge that hangs keeps its port open, and the browser would wait for minutes.
  const answer = await fetch(location.href, { signal: AbortSignal.timeout(INTERVAL_MS) });
  if (!answer.ok) throw new Error(answer.statusText);
  const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!wanted.checked || isInUse(main)) return;
  for (const open of main.querySelectorAll("details[open]")) {
    next.querySelector(`#${open.id}`)?.setAttribute("open", "");
  }
  const scrolled = [...main.querySelectorAll(".table")].map(
    (table) => [table.getAttribute("aria-label"), table.scrollLeft]);
  const focused = document.activeElement;
  main.replaceChildren(...next.childNodes);
  for (const [name, left] of scrolled) {
    const table = main.querySelector(`.table[aria-label="${name}"]`);
    if (table) table.scrollLeft = left;
  }
  document.title = title;
  addButtons();
  restoreFocus(main, focused);
}

// Who walks through by keyboard stays where they were.
function restoreFocus(main, focused) {
  if (focused.isConnected) return;
  const alike = [...main.querySelectorAll("a, summary, button, [tabindex]")].find(
    (each) => each.tagName === focused.tagName && each.textContent === focused.textContent);
  (alike ?? main).focus({ preventScroll: true });
}

addButtons();
setInterval(() => refresh().catch(sayNoAnswer), INTERVAL_MS);
