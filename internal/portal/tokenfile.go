package portal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"time"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
)

// line is the JSON form of an Entry.
type line struct {
	ID         string   `json:"id"`
	SHA256     string   `json:"sha256,omitempty"`             // of a token
	CertSHA256 string   `json:"certificate_sha256,omitempty"` // of a certificate, instead
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
	l := line{
		ID: e.ID, Tenant: e.Tenant, Source: e.Source,
		Operations: e.MayDo(), ActorKinds: names(e.ActorKinds), Names: names(e.Names),
		Rate: e.Rate, CIDRs: names(e.Addresses),
		NotAfter: e.NotAfter.Format(time.RFC3339), Made: e.Made.Format(time.RFC3339),
	}
	if hash := hex.EncodeToString(e.Hash[:]); e.Certificate {
		l.CertSHA256 = hash
	} else {
		l.SHA256 = hash
	}
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

func parseLine(b []byte) (Entry, error) {
	l := line{Rate: DefaultRate}
	text := func(dst *string) strictjson.Shape { return strictjson.Text(func(s string) { *dst = s }) }
	list := func(dst *[]string) strictjson.Shape {
		return strictjson.List(16, strictjson.Text(func(s string) { *dst = append(*dst, s) }))
	}
	err := strictjson.Decode(b, strictjson.Object(strictjson.Fields{
		"id": text(&l.ID), "sha256": text(&l.SHA256), "certificate_sha256": text(&l.CertSHA256), "tenant": text(&l.Tenant), "source": text(&l.Source),
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
	if (l.SHA256 == "") == (l.CertSHA256 == "") {
		return Entry{}, errors.New("sha256 and certificate_sha256: exactly one of them must be there")
	}
	name := "sha256"
	if l.CertSHA256 != "" {
		name, e.Certificate = "certificate_sha256", true
	}
	hash, err := hex.DecodeString(l.SHA256 + l.CertSHA256)
	if err != nil || len(hash) != sha256.Size {
		return Entry{}, fmt.Errorf("%s: must be %d hexadecimal digits", name, 2*sha256.Size)
	}
	copy(e.Hash[:], hash)
	for _, name := range l.Operations {
		if err := e.Allow(name); err != nil {
			return Entry{}, fmt.Errorf("operations: %w", err)
		}
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

// AddToken adds an entry, of a token or a certificate, to the file at path and makes the file if there is
// none. A running server takes it up within a second.
func AddToken(path string, e Entry) error {
	return edit(path, func(entries []Entry) ([]Entry, error) {
		for _, o := range entries {
			if o.Hash == e.Hash {
				return nil, fmt.Errorf("the %s is there already, with id %s; remove that first", e.Kind(), o.ID)
			}
		}
		return append(entries, e), nil
	})
}

// RemoveToken takes the token or certificate with this id out of force.
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

// without returns the entries of a that b does not have as they are.
func without(a, b []Entry) (rest []Entry) {
	for _, e := range a {
		if !slices.ContainsFunc(b, func(o Entry) bool { return reflect.DeepEqual(e, o) }) {
			rest = append(rest, e)
		}
	}
	return rest
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
