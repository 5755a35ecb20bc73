package portal

import (
	"crypto/sha256"
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

// Tokens are the bearer tokens in force, as the file has them. A file that
// changed is read again at the next use; one that cannot be read is logged,
// and what was in force stays so.
type Tokens struct {
	path string
	log  zerolog.Logger

	start time.Time

	mu      sync.Mutex // guards what follows
	entries map[[sha256.Size]byte]Entry
	spent   map[string]*bucket // by the id of each of entries
	checked time.Time
	seen    os.FileInfo // of the file that entries, or the last complaint, came from
	broken  string      // the last complaint, which is logged once
}

// OpenTokens reads the file at path, see [ReadTokens]. Who may read it is for
// the caller to check; it holds no tokens, but who can write it can add some.
func OpenTokens(path string, log zerolog.Logger) (*Tokens, error) {
	now := time.Now()
	t := &Tokens{path: path, log: log, start: now, checked: now}
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
	t.entries = make(map[[sha256.Size]byte]Entry, len(list))
	before := t.spent
	t.spent = make(map[string]*bucket, len(list))
	for _, e := range list {
		t.entries[e.Hash] = e
		if t.spent[e.ID] = before[e.ID]; t.spent[e.ID] == nil {
			t.spent[e.ID] = new(bucket)
		}
	}
	t.broken = ""
	return nil
}

// find returns the entry with this hash. The map's time depends on the hash of
// what was presented, never on a token: who could measure it would learn bits
// of a hash, and 256 random bits are not guessed from a hash.
func (t *Tokens) find(hash [sha256.Size]byte) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) >= recheck {
		t.checked = now
		if err := t.load(); err != nil && err.Error() != t.broken {
			t.broken = err.Error()
			t.log.Error().Err(err).Msg("tokens file refused, the tokens before it stay in force")
		}
	}
	e, ok := t.entries[hash]
	return e, ok
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

// authenticate returns the entry of the request's bearer token (RFC 6750). All
// refusals are the same, so that they say nothing of what is known here.
func (t *Tokens) authenticate(r *http.Request) (Entry, error) {
	refused := &reset.Refusal{Code: reset.Unauthenticated}
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return Entry{}, refused
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	text = strings.TrimLeft(text, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(text) != tokenLength || !strings.HasPrefix(text, tokenPrefix) {
		return Entry{}, refused
	}
	e, ok := t.find(sha256.Sum256([]byte(text)))
	if !ok || !time.Now().Before(e.NotAfter) {
		return Entry{}, refused
	}
	return e, nil
}
