package lab

import (
	"slices"
	"testing"
	"time"

	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/fakead"
)

// TestResetPageSpeed prints how long it is from the directory's answer until the
// sentence for it is on the screen, all on one machine. It asserts nothing of the
// time, which depends on what else the machine does.
func TestResetPageSpeed(t *testing.T) {
	const rounds = 21
	r := newReader(t, "fake")
	var took []time.Duration
	for range rounds {
		tab := r.open(r.ticket(r.newUser(t)))
		tab.Type("#password", fresh)
		tab.Type("#again", fresh)
		// The frame after the one in which the sentence came is on the screen.
		browser.Eval[int](tab, `(window.seen = new Promise((done) => new MutationObserver((_, o) => {
			if (!document.querySelector("#result .good")) return;
			o.disconnect();
			requestAnimationFrame(() => setTimeout(() => done(performance.timeOrigin + performance.now())));
		}).observe(document, {subtree: true, childList: true})), 0)`)
		answer := r.l.fake.Inject(fakead.Modify, fakead.Fault{})
		tab.Click("#form button[type=submit]")
		<-answer.Done()
		left := time.Now()
		shown := time.UnixMicro(int64(browser.Eval[float64](tab, "window.seen") * 1000))
		took = append(took, shown.Sub(left))
	}
	slices.Sort(took)
	t.Logf("from the directory's answer to the sentence on the screen: median %s, least %s, most %s of %d",
		took[rounds/2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[rounds-1].Round(time.Millisecond), rounds)
}
