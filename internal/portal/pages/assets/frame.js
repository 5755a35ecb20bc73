// What all pages can do where scripts run; without, they work by forms and links.
//
//   data-toggle="ID"    a button that shows and hides the password in the field ID
//   data-enhance        a form that is sent without leaving the page
//   data-stream="URL"   an element whose page goes on: each "swap" event holds HTML that
//                       takes the place of what has its id; ends with the attribute
//   data-focus          gets the focus when it comes into the page
//   data-text           of what is swapped, only the text is new: for live regions
//   time                is shown in the reader's own time zone; data-date="none" leaves out the
//                       day, data-style="medium" has the seconds
"use strict";

(() => {
  const lang = document.documentElement.lang;
  const offline = (yes) => {
    const note = document.getElementById("offline");
    if (note) note.hidden = !yes;
  };
  // Whatever else wants to know of new content listens for "pages:new".
  const announce = (root) => document.dispatchEvent(new CustomEvent("pages:new", { detail: root }));

  function prepare(root) {
    for (const button of root.querySelectorAll("[data-toggle]")) {
      const field = document.getElementById(button.dataset.toggle);
      button.hidden = false;
      button.addEventListener("click", () => {
        const show = field.type === "password";
        field.type = show ? "text" : "password";
        button.setAttribute("aria-pressed", String(show));
        button.textContent = show ? button.dataset.hide : button.dataset.show;
      });
    }
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime);
      if (!isNaN(at)) {
        t.textContent = new Intl.DateTimeFormat(lang, { dateStyle: t.dataset.date === "none" ? undefined : "medium", timeStyle: t.dataset.style || "short" }).format(at);
      }
    }
    for (const form of root.querySelectorAll("form[data-enhance]")) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        send(form, event.submitter);
      });
    }
    const focus = root.querySelector("[data-focus]");
    if (focus) focus.focus({ preventScroll: false });
    announce(root);
    listen();
  }

  // send posts a form and shows the page that is answered.
  async function send(form, submitter) {
    const body = new URLSearchParams(new FormData(form, submitter));
    body.set("live", "1"); // we show what follows: no need to wait for it
    for (const b of form.querySelectorAll("button")) b.disabled = true;
    form.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin" });
      const type = answer.headers.get("Content-Type") || "";
      if (!type.startsWith("text/html")) throw new Error("no page");
      replace(await answer.text(), answer.url);
    } catch {
      // It may have been sent: the page knows, once it can be reached.
      offline(true);
      const before = reference();
      setTimeout(() => again(() => {
        const after = reference();
        const unsent = document.getElementById("unsent");
        if (unsent) unsent.hidden = !after.startsWith("page-") && after !== before;
      }), 1000);
    }
  }

  // reference names the request that the page is about, or is "page-…".
  const reference = () => document.querySelector("#reference code")?.textContent || "page-";

  function replace(html, url) {
    const next = new DOMParser().parseFromString(html, "text/html");
    const main = next.querySelector("main");
    if (!main) {
      location.reload();
      return;
    }
    document.title = next.title;
    document.querySelector("main").replaceWith(main);
    document.querySelector("header").replaceWith(next.querySelector("header"));
    document.getElementById("reference").replaceWith(next.getElementById("reference"));
    if (url !== location.href) history.pushState(null, "", url);
    prepare(main);
  }

  // listen keeps one stream open while the page has an element that asks for it.
  let source, asked;
  function listen() {
    const element = document.querySelector("[data-stream]");
    const url = element ? element.dataset.stream : undefined;
    if (url === asked && source && source.readyState !== EventSource.CLOSED) return;
    if (source) source.close();
    source = undefined;
    asked = url;
    if (!url) {
      offline(false);
      return;
    }
    const mine = (source = new EventSource(url));
    mine.addEventListener("open", () => offline(false));
    mine.addEventListener("swap", (event) => swap(event.data));
    mine.addEventListener("error", () => {
      if (mine !== source) return;
      offline(true);
      if (mine.readyState === EventSource.CLOSED) {
        // The server answered something else: it is away, or there is no stream any more.
        setTimeout(() => {
          if (mine !== source) return;
          source = undefined;
          again(() => {});
        }, 2000);
      }
    });
  }

  // again reads the whole page anew, in place, and calls done then.
  async function again(done) {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.status >= 500) throw new Error("away");
      replace(await answer.text(), answer.url);
      done();
    } catch {
      setTimeout(() => again(done), 2000);
    }
  }

  function swap(html) {
    const next = new DOMParser().parseFromString(html, "text/html");
    for (const part of [...next.body.children]) {
      const old = part.id && document.getElementById(part.id);
      if (!old) continue;
      if (old.isEqualNode(part)) continue;
      if (part.hasAttribute("data-text")) {
        // A live region is read aloud if it stays and its text changes.
        if (old.textContent !== part.textContent) old.textContent = part.textContent;
        continue;
      }
      const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
      old.replaceWith(part);
      prepare(part);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    }
    listen();
  }

  addEventListener("popstate", () => location.reload());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  prepare(document);
})();
