// Package chaos is a campaign that breaks the system while it works, and judges
// what was seen of it. Its parts are below it: proxy cuts lines, clock makes
// programs whose clock is wrong, history holds the promises against what
// happened.
package chaos

import (
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"writeback/internal/chaos/history"
	"writeback/internal/chaos/proxy"
	"writeback/internal/reset"
)

// A Watch keeps the modifies that pass proxies on their way to domain
// controllers: Samba keeps no list of them.
type Watch struct {
	account, password func(string) string

	mu     sync.Mutex
	writes []history.Write
}

// NewWatch returns a watch. account returns the name of the account that a
// modify calls by a DN, password the name of a password. They must be safe for
// concurrent use.
func NewWatch(account, password func(string) string) *Watch {
	return &Watch{account: account, password: password}
}

// ModifyDN is the DN by which a consumer modifies the account with an objectGUID
// in its text form.
func ModifyDN(objectGUID string) string {
	account := reset.Account{Kind: reset.ObjectGUID, Value: objectGUID}
	return "<GUID=" + hex.EncodeToString(account.Binary()) + ">"
}

// Look returns what one proxy is to be started with, as [proxy.Options.Seen].
func (w *Watch) Look() func(proxy.Message, proxy.Action) {
	type request struct{ conn, number int }
	asked := make(map[request]int) // the place in w.writes; w.mu guards it
	return func(m proxy.Message, do proxy.Action) {
		if m.Verb != "modify" {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if m.Direction == proxy.ToServer {
			if write, ok := w.sent(m, do); ok {
				asked[request{m.Conn, m.Number}] = len(w.writes)
				w.writes = append(w.writes, write)
			}
			return
		}
		// The verdict is known here, also if the answer gets lost.
		code, ok := m.Result()
		if !ok || m.Request == nil {
			return
		}
		if i, ok := asked[request{m.Request.Conn, m.Request.Number}]; ok {
			w.writes[i].Verdict = history.Refused
			if code == 0 {
				w.writes[i].Verdict = history.Done
			}
		}
	}
}

// sent returns a modify that is passed on, without its verdict.
func (w *Watch) sent(m proxy.Message, do proxy.Action) (write history.Write, ok bool) {
	switch do {
	case proxy.Drop, proxy.Cut, proxy.Tear:
		return history.Write{}, false // it never arrives
	}
	write = history.Write{At: time.Now(), Account: w.account(m.Subject), Verdict: history.Unseen}
	if text, ok := m.Password(); ok {
		write.Password = w.password(text)
	}
	return write, true
}

// Writes returns the modifies that may have reached a domain controller, in the
// order in which they were passed on.
func (w *Watch) Writes() []history.Write {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.writes)
}

// Copies are the last requests that passed proxies on their way to the broker.
type Copies struct {
	mu   sync.Mutex
	last [][]byte
}

// maxCopies is how many are kept.
const maxCopies = 500

func (c *Copies) see(m proxy.Message, _ proxy.Action) {
	if !isRequest(&m) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last = append(c.last, m.Body); len(c.last) > maxCopies {
		c.last = c.last[1:]
	}
}

// Pick returns the nth of them, modulo their number, or nil if there is none.
func (c *Copies) Pick(n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == 0 {
		return nil
	}
	return c.last[n%len(c.last)]
}
