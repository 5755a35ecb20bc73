// Helps to choose a password while it is typed: ticks off the rules that can be
// checked here, and guesses how strong it is. What is typed stays in the page; the
// directory decides.
"use strict";

(() => {
  // As MS-SAMR 3.1.1.7.2 counts: of five kinds of characters, three.
  const kinds = [/[A-Z]/, /[a-z]/, /[0-9]/, /[!-/:-@[-`{-~]/, /(?![A-Za-z])\p{L}/u];
  const checks = {
    length: (text, n) => text.length >= n, // UTF-16 units, as the directory counts
    complexity: (text) => kinds.filter((k) => k.test(text)).length >= 3,
    // Only that it is broken can be told: not every name of the user is known here.
    name: (text, _, account) => {
      const name = account.split("@")[0].toLowerCase();
      return name.length >= 3 && text.toLowerCase().includes(name) ? false : undefined;
    },
  };

  let loading;
  function load(box) {
    const script = (src) => new Promise((done, failed) => {
      const s = document.createElement("script");
      s.src = src;
      s.onload = done;
      s.onerror = failed;
      document.head.append(s);
    });
    loading ||= Promise.all([script(box.dataset.core), script(box.dataset.common)]).then(() => {
      const { core, "language-common": common } = window.zxcvbnts;
      return new core.ZxcvbnFactory({ dictionary: { ...common.dictionary }, graphs: common.adjacencyGraphs });
    });
    return loading;
  }

  function prepare(root) {
    const field = root.querySelector("#password");
    if (!field) return;
    const form = field.form;
    const box = form.querySelector("#strength");
    const said = form.querySelector("#strength-text");
    const account = box.dataset.account;
    const rules = [...form.querySelectorAll("[data-rule]")].filter((li) => checks[li.dataset.rule]);

    const tick = () => {
      for (const li of rules) {
        const met = checks[li.dataset.rule](field.value, Number(li.dataset.n), account);
        const broken = li.dataset.rule === "name" ? "failed" : "open";
        li.className = met === undefined ? "unknown" : met ? "done" : broken;
        li.querySelector("[data-said]").textContent = met === undefined ? "" : " – " + (met ? li.dataset.done : li.dataset.open);
      }
    };
    box.hidden = false; // from the start, so that nothing moves under the pointer
    let timer;
    const strength = () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const text = field.value;
        if (text === "") {
          box.querySelector("span").className = said.textContent = "";
          return;
        }
        try {
          // What is long is strong enough, and takes long to look at.
          const { score } = (await load(box)).check(text.slice(0, 64), account.split(/[@.]/));
          if (text !== field.value) return;
          box.querySelector("span").className = "s" + score;
          said.textContent = box.dataset["s" + score];
        } catch {
          said.textContent = ""; // a hint, no more
        }
      }, 150);
    };
    field.addEventListener("focus", () => load(box).catch(() => {}), { once: true });
    field.addEventListener("input", () => { tick(); strength(); });
    if (field.value) { tick(); strength(); }
  }

  document.addEventListener("pages:new", (event) => prepare(event.detail));
  prepare(document);
})();
