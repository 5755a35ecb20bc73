package lab

import (
	"slices"
	"testing"
	"time"

	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/fakead"
)

// TestResetPageSpeed prints how long it is from the directory's answer until the
// sentence for it is on the screen, all on one machine: of a directory that answers
// at once, and of one that lets the page wait. It asserts nothing of the time,
// which depends on what else the machine does.
func TestResetPageSpeed(t *testing.T) {
	const rounds = 15
	r := newReader(t, "fake")
	for name, waits := range map[string]bool{"at once": false, "by the stream": true} {
		var took []time.Duration
		for range rounds {
			took = append(took, r.outcomeToScreen(t, waits))
		}
		slices.Sort(took)
		t.Logf("from the directory's answer to the sentence on the screen, %s: median %s, least %s, most %s of %d", name,
			took[rounds/2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[rounds-1].Round(time.Millisecond), rounds)
	}
}

func (r *reader) outcomeToScreen(t *testing.T, waits bool) time.Duration {
	t.Helper()
	tab := r.open(r.ticket(r.newUser(t)))
	tab.Type("#password", fresh)
	tab.Type("#again", fresh)
	// The frame after the one in which the sentence came is on the screen.
	browser.Eval[int](tab, `(window.seen = new Promise((done) => new MutationObserver((_, o) => {
		if (!document.querySelector("#result .good")) return;
		o.disconnect();
		requestAnimationFrame(() => setTimeout(() => done(performance.timeOrigin + performance.now())));
	}).observe(document, {subtree: true, childList: true})), 0)`)
	answer := r.l.fake.Inject(fakead.Modify, fakead.Fault{Hold: waits})
	tab.Click("#form button[type=submit]")
	if waits {
		<-answer.Met()
		tab.Await("#result .ticks li:nth-child(3).done")
		answer.Release()
	}
	<-answer.Done()
	left := time.Now()
	return time.UnixMicro(int64(browser.Eval[float64](tab, "window.seen") * 1000)).Sub(left)
}
