package portal

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// MaxTokenAge is how far ahead a token's end may be when it is made.
const MaxTokenAge = 366 * 24 * time.Hour

// How many requests a minute a token may make, questions about earlier ones
// included. A page that waits for its outcome makes one for each reset, so that
// the default is for two resets a second.
const (
	DefaultRate = 120
	MaxRate     = 60_000
)

const (
	maxSource   = 64 // longest name of a source, in bytes
	maxPrefixes = 16 // of a token's addresses
)

// A Grant is what a token allows its holder.
type Grant struct {
	Tenant     string // as in [reset.ValidName]
	Source     string // who holds it, for audit and log: 1 to 64 printable ASCII characters
	Operations []reset.Operation
	ActorKinds []reset.ActorKind // empty is [reset.Admin] alone
	Names      []reset.NameKind  // how accounts may be named
	Rate       int               // requests a minute, 1 to [MaxRate]; 0 is [DefaultRate]
	Addresses  []netip.Prefix    // from where it may be used, at most 16; empty is everywhere
	NotAfter   time.Time         // the token is dead from then on
}

// An Entry is one line of a tokens file. It does not hold the token.
type Entry struct {
	ID   string // names the token without being one: 8 hexadecimal digits
	Hash [sha256.Size]byte
	Made time.Time
	Grant
}

// NewToken makes a token: "wbk_" and 43 characters, the base64url form of 32
// random bytes. It exists nowhere else; show it once.
func NewToken(g Grant, now time.Time) (secret.Value, Entry, error) {
	var random [32]byte
	rand.Read(random[:])
	defer clear(random[:])
	text := base64.RawURLEncoding.AppendEncode([]byte(tokenPrefix), random[:])

	var id [4]byte
	rand.Read(id[:])
	if len(g.ActorKinds) == 0 {
		g.ActorKinds = []reset.ActorKind{reset.Admin}
	}
	if g.Rate == 0 {
		g.Rate = DefaultRate
	}
	g.NotAfter = g.NotAfter.UTC().Truncate(time.Second)
	e := Entry{ID: hex.EncodeToString(id[:]), Hash: sha256.Sum256(text), Made: now.UTC().Truncate(time.Second), Grant: g}
	if err := e.check(); err != nil {
		clear(text)
		return secret.Value{}, Entry{}, fmt.Errorf("making a token: %w", err)
	}
	return secret.New(text), e, nil
}

// check refuses what no token may be.
func (e Entry) check() error {
	if err := reset.ValidName(e.Tenant); err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	if !printable(e.Source, maxSource) {
		return fmt.Errorf("source: must have 1 to %d printable ASCII characters", maxSource)
	}
	if len(e.Operations) == 0 || len(e.ActorKinds) == 0 || len(e.Names) == 0 {
		return errors.New("operations, actor_kinds and names: must not be empty")
	}
	if e.Rate < 1 || e.Rate > MaxRate {
		return fmt.Errorf("rate: must be 1 to %d requests a minute, not %d", MaxRate, e.Rate)
	}
	if len(e.Addresses) > maxPrefixes {
		return fmt.Errorf("cidrs: must be at most %d, not %d", maxPrefixes, len(e.Addresses))
	}
	if !e.NotAfter.After(e.Made) || e.NotAfter.After(e.Made.Add(MaxTokenAge)) {
		return fmt.Errorf("not_after: must be at most %d days after made (%s): %s", MaxTokenAge/(24*time.Hour),
			e.Made.Format(time.RFC3339), e.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// line is the JSON form of an Entry.
type line struct {
	ID         string   `json:"id"`
	SHA256     string   `json:"sha256"`
	Tenant     string   `json:"tenant"`
	Source     string   `json:"source"`
	Operations []string `json:"operations"`
	ActorKinds []string `json:"actor_kinds"`
	Names      []string `json:"names"`
	Rate       int      `json:"rate"`            // lines that were made without one have DefaultRate
	CIDRs      []string `json:"cidrs,omitempty"` // none: everywhere
	NotAfter   string   `json:"not_after"`
	Made       string   `json:"made"`
}

func (e Entry) line() ([]byte, error) {
	b, err := json.Marshal(line{
		ID: e.ID, SHA256: hex.EncodeToString(e.Hash[:]), Tenant: e.Tenant, Source: e.Source,
		Operations: names(e.Operations), ActorKinds: names(e.ActorKinds), Names: names(e.Names),
		Rate: e.Rate, CIDRs: names(e.Addresses),
		NotAfter: e.NotAfter.Format(time.RFC3339), Made: e.Made.Format(time.RFC3339),
	})
	return append(b, '\n'), err
}

func parseLine(b []byte) (Entry, error) {
	l := line{Rate: DefaultRate}
	text := func(dst *string) strictjson.Shape { return strictjson.Text(func(s string) { *dst = s }) }
	list := func(dst *[]string) strictjson.Shape {
		return strictjson.List(16, strictjson.Text(func(s string) { *dst = append(*dst, s) }))
	}
	err := strictjson.Decode(b, strictjson.Object(strictjson.Fields{
		"id": text(&l.ID), "sha256": text(&l.SHA256), "tenant": text(&l.Tenant), "source": text(&l.Source),
		"operations": list(&l.Operations), "actor_kinds": list(&l.ActorKinds), "names": list(&l.Names),
		"rate": strictjson.Whole(MaxRate, func(n int) { l.Rate = n }), "cidrs": list(&l.CIDRs),
		"not_after": text(&l.NotAfter), "made": text(&l.Made),
	}))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: l.ID, Grant: Grant{Tenant: l.Tenant, Source: l.Source, Rate: l.Rate}}
	if id, err := hex.DecodeString(l.ID); err != nil || len(id) != 4 {
		return Entry{}, errors.New("id: must be 8 hexadecimal digits")
	}
	hash, err := hex.DecodeString(l.SHA256)
	if err != nil || len(hash) != sha256.Size {
		return Entry{}, fmt.Errorf("sha256: must be %d hexadecimal digits", 2*sha256.Size)
	}
	copy(e.Hash[:], hash)
	if e.Operations, err = parseAll(l.Operations, reset.ParseOperation); err != nil {
		return Entry{}, fmt.Errorf("operations: %w", err)
	}
	if e.ActorKinds, err = parseAll(l.ActorKinds, reset.ParseActorKind); err != nil {
		return Entry{}, fmt.Errorf("actor_kinds: %w", err)
	}
	if e.Names, err = parseAll(l.Names, reset.ParseNameKind); err != nil {
		return Entry{}, fmt.Errorf("names: %w", err)
	}
	if e.Addresses, err = parseAll(l.CIDRs, ParsePrefix); err != nil {
		return Entry{}, fmt.Errorf("cidrs: %w", err)
	}
	// The errors of time.Parse repeat what they were given.
	if e.NotAfter, err = time.Parse(time.RFC3339, l.NotAfter); err != nil {
		return Entry{}, errors.New("not_after: must be a time of RFC 3339")
	}
	if e.Made, err = time.Parse(time.RFC3339, l.Made); err != nil {
		return Entry{}, errors.New("made: must be a time of RFC 3339")
	}
	return e, e.check()
}

// ReadTokens returns the entries of the file at path: one JSON object a line,
// the fields of [Entry], no others; no id and no hash twice. Lines that were made
// before tokens had a rate and addresses are read as if they had the default. Its errors name
// line and field and repeat nothing of the file.
func ReadTokens(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	var entries []Entry
	scan := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; scan.Scan(); n++ {
		e, err := parseLine(scan.Bytes())
		if err != nil {
			return nil, fmt.Errorf("reading tokens: %s: line %d: %w", path, n, err)
		}
		if slices.ContainsFunc(entries, func(o Entry) bool { return o.ID == e.ID || o.Hash == e.Hash }) {
			return nil, fmt.Errorf("reading tokens: %s: line %d: id or sha256 is there already", path, n)
		}
		entries = append(entries, e)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("reading tokens: %s: %w", path, err)
	}
	return entries, nil
}

// AddToken adds an entry to the file at path and makes the file if there is
// none. A running server takes it up within a second.
func AddToken(path string, e Entry) error {
	return edit(path, func(entries []Entry) ([]Entry, error) { return append(entries, e), nil })
}

// RemoveToken takes the token with this id out of force.
func RemoveToken(path, id string) error {
	return edit(path, func(entries []Entry) ([]Entry, error) {
		rest := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.ID == id })
		if len(rest) == len(entries) {
			return nil, errors.New("there is no token with this id")
		}
		return rest, nil
	})
}

// edit replaces the file by what change makes of it. Readers see the old file
// or the new one. Editors wait for each other, so that none brings back a
// token that another one has just removed.
func edit(path string, change func([]Entry) ([]Entry, error)) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("changing tokens: %w", err)
	}
	defer dir.Close() // and with it the lock
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("changing tokens: locking %s: %w", dir.Name(), err)
	}
	entries, err := ReadTokens(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("changing tokens: %w", err)
	}
	if entries, err = change(entries); err != nil {
		return fmt.Errorf("changing tokens: %s: %w", path, err)
	}
	var data []byte
	for _, e := range entries {
		l, err := e.line()
		if err != nil {
			return fmt.Errorf("changing tokens: %w", err)
		}
		data = append(data, l...)
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("changing tokens: %w", err)
	}
	return dir.Sync()
}

// replace puts data at path by way of a synced file next to it, mode 0600.
func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func names[T fmt.Stringer](values []T) []string {
	var s []string
	for _, v := range values {
		s = append(s, v.String())
	}
	return s
}

func parseAll[T any](values []string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, s := range values {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// printable reports whether s has 1 to limit printable ASCII characters.
func printable(s string, limit int) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= limit
}
