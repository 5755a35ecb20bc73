package portal

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/reset"
)

const (
	tokenPrefix = "wbk_" // so that scanners for leaked secrets can find it
	tokenLength = len(tokenPrefix) + 43

	// recheck is how often the file is looked at, at most.
	recheck = time.Second
)

// Tokens are the bearer tokens and client certificates in force, as the file has them. A file that
// changed is read again at the next use; one that cannot be read is logged,
// and what was in force stays so.
type Tokens struct {
	path string
	log  zerolog.Logger

	start time.Time
	equal func(a, b []byte) int // of crypto/subtle; a test looks at what it is given

	mu      sync.Mutex // guards what follows
	changed func(made, revoked []Entry)
	entries []Entry            // replaced as a whole
	spent   map[string]*bucket // by the id of each of entries
	checked time.Time
	seen    os.FileInfo // of the file that entries, or the last complaint, came from
	broken  string      // the last complaint, which is logged once
}

// OpenTokens reads the file at path, see [ReadTokens]. Who may read it is for
// the caller to check; it holds no tokens, but who can write it can add some.
func OpenTokens(path string, log zerolog.Logger) (*Tokens, error) {
	now := time.Now()
	t := &Tokens{path: path, log: log, start: now, equal: subtle.ConstantTimeCompare, checked: now}
	if err := t.load(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tokens) load() error {
	// Looked at before it is read, so that a change in between shows as one
	// the next time.
	info, err := os.Stat(t.path)
	if err != nil {
		return fmt.Errorf("reading tokens: %w", err)
	}
	if t.seen != nil && os.SameFile(info, t.seen) && info.Size() == t.seen.Size() && info.ModTime().Equal(t.seen.ModTime()) {
		return nil
	}
	t.seen = info
	list, err := ReadTokens(t.path)
	if err != nil {
		return err
	}
	made, revoked := without(list, t.entries), without(t.entries, list)
	if t.changed != nil && len(made)+len(revoked) > 0 {
		t.changed(made, revoked)
	}
	t.entries = list
	before := t.spent
	t.spent = make(map[string]*bucket, len(list))
	for _, e := range list {
		if t.spent[e.ID] = before[e.ID]; t.spent[e.ID] == nil {
			t.spent[e.ID] = new(bucket)
		}
	}
	t.broken = ""
	return nil
}

// Watch tells changed of the entries that are in force, then of those that come
// into force and those that no longer are, before any of it counts. It looks at
// the file every second until ctx ends. changed must not wait for anything. An
// entry that was altered is revoked and made.
func (t *Tokens) Watch(ctx context.Context, changed func(made, revoked []Entry)) {
	t.mu.Lock()
	changed(t.entries, nil)
	t.changed = changed
	t.mu.Unlock()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.inForce()
		case <-ctx.Done():
			return
		}
	}
}

// find returns the entry of that kind with this hash. All entries are compared, each
// in a time that does not depend on how much of it is equal. What is compared are
// hashes of what was presented, never a token.
func (t *Tokens) find(hash [sha256.Size]byte, certificate bool) (found Entry, ok bool) {
	entries := t.inForce()
	for i := range entries { // not by value: an entry is 200 bytes
		if e := &entries[i]; t.equal(hash[:], e.Hash[:]) == 1 && e.Certificate == certificate {
			found, ok = *e, true
		}
	}
	return found, ok
}

// inForce returns the entries of the file as it is now, or was a moment ago.
func (t *Tokens) inForce() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) >= recheck {
		t.checked = now
		if err := t.load(); err != nil && err.Error() != t.broken {
			t.broken = err.Error()
			t.log.Error().Err(err).Msg("tokens file refused, the tokens before it stay in force")
		}
	}
	return t.entries
}

// Ends returns when the tokens and certificates in force end.
func (t *Tokens) Ends() (ends []time.Time) {
	for _, e := range t.inForce() {
		ends = append(ends, e.NotAfter)
	}
	return ends
}

// spend counts a request against the rate of its token. If it is beyond that,
// it returns how long it is until one is not, else 0.
func (t *Tokens) spend(e Entry) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.spent[e.ID]
	if b == nil {
		return 0 // removed since it was found
	}
	return b.take(time.Since(t.start), e.Rate, rateSpan)
}

// refund takes back one request that was spent.
func (t *Tokens) refund(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.spent[e.ID]; b != nil {
		b.give(e.Rate, rateSpan)
	}
}

// authenticate returns the entry of the request's bearer token (RFC 6750) or, if
// it has none, of the client certificate that its connection was opened with. All
// refusals are the same, so that they say nothing of what is known here.
func (t *Tokens) authenticate(r *http.Request) (Entry, error) {
	refused := &reset.Refusal{Code: reset.Unauthenticated}
	hash, certificate, ok := presented(r)
	if !ok {
		return Entry{}, refused
	}
	e, ok := t.find(hash, certificate)
	if !ok || !time.Now().Before(e.NotAfter) {
		return Entry{}, refused
	}
	return e, nil
}

// presented returns the hash of what a caller shows for itself. A certificate
// counts only if TLS has verified it.
func presented(r *http.Request) (hash [sha256.Size]byte, certificate, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return sha256.Sum256(r.TLS.VerifiedChains[0][0].Raw), true, true
	}
	if len(headers) != 1 {
		return hash, false, false
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	text = strings.TrimLeft(text, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(text) != tokenLength || !strings.HasPrefix(text, tokenPrefix) {
		return hash, false, false
	}
	return sha256.Sum256([]byte(text)), false, true
}
