package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// The table of docs/life-of-a-request.md: what may follow. Everything that is
// not a row is refused. "own" is the run that wrote the last record, "other"
// another run or replica; a publisher is never the writer of a claim.
const table = `
accepted            consumer   claimed
accepted            publisher  cancelled expired
accepted            publisher  cancelled in_progress
accepted            publisher  cancelled operation_off

claimed             own        claimed doubt
claimed             own        released
claimed             own        settled CODE
claimed             own        settled doubt CODE
claimed             other      claimed doubt
claimed             publisher  settled unconfirmed
claimed             publisher  settled doubt unconfirmed

claimed doubt       own        claimed doubt
claimed doubt       own        released doubt
claimed doubt       own        settled doubt CODE
claimed doubt       other      claimed doubt
claimed doubt       publisher  settled doubt unconfirmed

released            consumer   claimed
released            publisher  cancelled expired
released            publisher  cancelled in_progress

released doubt      consumer   claimed doubt
released doubt      publisher  settled doubt unconfirmed

settled unconfirmed consumer   corrected CODE
`

// allowed looks the table up. last and next are as its first and last columns,
// with a code in next's last word where it has one.
func allowed(last, who, next string) bool {
	for _, row := range strings.Split(table, "\n") {
		if len(row) < 31 {
			continue
		}
		rowLast, rowWho, rowNext := strings.TrimSpace(row[:20]), strings.TrimSpace(row[20:31]), row[31:]
		whoFits := rowWho == who || rowWho == "consumer" && who != "publisher"
		if words := strings.Fields(next); strings.HasSuffix(rowNext, " CODE") && slices.Contains(reset.Codes(), reset.Code(words[len(words)-1])) {
			rowNext = strings.TrimSuffix(rowNext, "CODE") + words[len(words)-1]
		}
		// A doubt or a code that the table does not speak of does not matter.
		plain := strings.TrimSuffix(next, " doubt")
		if rowLast == last && whoFits && (rowNext == next || !strings.HasPrefix(last, "claimed") && (rowNext == plain || rowNext == strings.Replace(next, " doubt", "", 1))) {
			return true
		}
	}
	return false
}

func TestTable(t *testing.T) {
	w := newWorld(t)
	claimed := []step{w.accepted(), w.claimed()}
	doubtful := []step{w.accepted(), w.claimed(), {by: w.con, kind: envelope.Claimed, doubt: true}}
	after := func(steps []step, s step) []reset.Stored { return w.write(append(slices.Clone(steps), s)...) }
	ends := map[string][]reset.Stored{
		"accepted":            w.write(w.accepted()),
		"claimed":             w.write(claimed...),
		"claimed doubt":       w.write(doubtful...),
		"released":            after(claimed, step{by: w.con, kind: envelope.Released}),
		"released doubt":      after(doubtful, step{by: w.con, kind: envelope.Released, doubt: true}),
		"settled applied":     after(claimed, w.settled(reset.Applied)),
		"settled unconfirmed": after(claimed, w.settled(reset.Unconfirmed)),
		"cancelled expired":   after([]step{w.accepted()}, step{by: w.pub, kind: envelope.Cancelled, code: reset.Expired}),
		"corrected applied":   append(after(claimed, w.settled(reset.Unconfirmed)), reset.Stored{}),
	}
	corrected := ends["settled unconfirmed"]
	ends["corrected applied"] = append(slices.Clone(corrected), w.next(corrected, step{by: w.con2, kind: envelope.Corrected, code: reset.Applied}))
	copied := NewLog(signer(t, seal.PurposeConsumer, 3), "con_1") // another replica that claims to be this run
	copied.run = w.con.run
	writers := map[string]*Log{"own": w.con, "other": w.con2, "other run": w.again, "other key": copied, "publisher": w.pub, "other publisher": w.pub2}
	codes := []reset.Code{"", reset.Applied, reset.PasswordRefused, reset.InProgress, reset.OperationOff, reset.Expired, reset.Unconfirmed}
	legal := 0
	for last, stored := range ends {
		chain, err := w.verifier.Verify(id, stored)
		if err != nil {
			t.Fatalf("%s: %v", last, err)
		}
		for writer, log := range writers {
			who := map[string]string{"other run": "other", "other key": "other", "other publisher": "publisher"}[writer]
			if who == "" {
				who = writer
			}
			for kind := envelope.Accepted; kind <= envelope.Corrected; kind++ {
				for _, doubt := range []bool{false, true} {
					for _, code := range codes {
						final := kind == envelope.Settled || kind == envelope.Cancelled || kind == envelope.Corrected
						if !final && code != "" {
							continue
						}
						next := kind.String()
						if doubt {
							next += " doubt"
						}
						if code != "" {
							next += " " + string(code)
						}
						s := w.next(stored, step{by: log, kind: kind, code: code, doubt: doubt})
						_, err := w.verifier.Extend(chain, id, s)
						want := allowed(last, who, next)
						if (err == nil) != want {
							t.Errorf("after %s, %s writes %s: error %v, want ok %t", last, writer, next, err, want)
						}
						if want {
							legal++
						}
					}
				}
			}
		}
	}
	if legal < 100 {
		t.Errorf("only %d transitions are legal: the table is not read", legal)
	}
}

func TestChainQuestions(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name                      string
		steps                     []step
		ended, cancellable, claim bool
	}{
		{"accepted", nil, false, true, false},
		{"claimed", []step{w.claimed()}, false, false, true},
		{"released", []step{w.claimed(), {by: w.con, kind: envelope.Released}}, false, true, true},
		{"released with doubt", []step{w.claimed(), {by: w.con, kind: envelope.Claimed, doubt: true}, {by: w.con, kind: envelope.Released, doubt: true}}, false, false, true},
		{"settled", []step{w.claimed(), w.settled(reset.Applied)}, true, false, true},
		{"cancelled", []step{{by: w.pub, kind: envelope.Cancelled, code: reset.Expired}}, true, false, false},
		{"corrected", []step{w.claimed(), w.settled(reset.Unconfirmed), {by: w.con, kind: envelope.Corrected, code: reset.Applied}}, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := w.verifier.Verify(id, w.write(append([]step{w.accepted()}, tt.steps...)...))
			if err != nil {
				t.Fatal(err)
			}
			claim, ok := c.Claim()
			got := fmt.Sprint(c.Ended(), c.Cancellable(), ok)
			if want := fmt.Sprint(tt.ended, tt.cancellable, tt.claim); got != want {
				t.Errorf("ended, cancellable, claimed: %s, want %s", got, want)
			}
			if ok && claim.Kind != envelope.Claimed {
				t.Errorf("Claim returns a record that is %s", claim.Kind)
			}
			if c.Last().Seq != c[len(c)-1].Seq || c[0].Kind != envelope.Accepted {
				t.Error("the chain is in another order")
			}
		})
	}
	if (Chain{}).Ended() {
		t.Error("an empty chain has ended")
	}
}
